"""The numbers of `padlab.lm.logprobs` with less time and memory: packed rows, the output head in chunks, a KV cache."""
