"""The same numbers as `padlab.lm.logprobs`, sooner: shared prompts, the output head in pieces, a KV cache."""
