"""Scoring n responses to a prompt: padlab against the plain way and against trl, on the same tokens, in one run.

    python bench/scoring.py [--threads 2] [--prompts 4] [--repeats 5] [--shape gemma-2-2b --device cuda]

"plain": straight transformers, one row per response, full logits, log-softmax, gather; the n rows of a prompt as one
batch. "one by one" is the same with one row at a time. "trl": the log-probabilities of trl's DPO trainer (its fused
head), the same rows. Memory: four responses of 512 tokens under a small random model with 256,000 words.
"""

from copy import deepcopy

import torch
from _measure import forward_gflop, keep_row, matrix_rate, network_of, peak_extra_mib, side_by_side, speed_options
from transformers import LlamaConfig, LlamaForCausalLM

from padlab.lm.fast.scoring import score_ids
from padlab.lm.fast.precision import in_dtype, probe_bfloat16

CASES = [(4, 256, 64), (8, 256, 64), (4, 32, 64)]


def tokens(count: int, n: int, prompt: int, response: int, vocabulary: int) -> tuple[list, list]:
    """Random prompts and responses."""
    draw = torch.Generator().manual_seed(0)
    numbers = lambda *shape: torch.randint(5, vocabulary, shape, generator=draw).tolist()  # noqa: E731
    return numbers(count, prompt), numbers(count, n, response)


@torch.no_grad()
def plain(model, prompts, responses, at_once=None):
    """Full sequences, full logits."""
    found = []
    for prompt, group in zip(prompts, responses, strict=True):
        rows = torch.tensor([prompt + r for r in group], device=model.device)
        for piece in rows.split(at_once or len(rows)):
            logps = model(input_ids=piece, use_cache=False).logits.log_softmax(-1)
            wanted = piece[:, len(prompt) :]
            found.append(logps[:, len(prompt) - 1 : -1].gather(-1, wanted[..., None]).squeeze(-1))
    return torch.cat(found)


@torch.no_grad()
def trl_way(model, prompts, responses):
    """What trl's DPO trainer calls: labels where a response stands, log-probabilities from its fused head."""
    found = []
    for prompt, group in zip(prompts, responses, strict=True):
        rows = torch.tensor([prompt + r for r in group], device=model.device)
        labels = rows.clone()
        labels[:, : len(prompt)] = -100
        out = model(
            input_ids=rows, attention_mask=torch.ones_like(rows), use_cache=False, labels=labels, fused_lm_head=True
        )
        found.append(out.log_probs[:, -len(group[0]) :])
    return torch.cat(found)


def main() -> None:
    """Speed, agreement, memory."""
    from trl.trainer.utils import add_fused_lm_head

    options = speed_options(__doc__, prompts=4, repeats=5)
    model = network_of(options.shape, options.device)
    fused = deepcopy(model)
    add_fused_lm_head(fused, outputs=("log_probs",))
    half = in_dtype(model, "bfloat16")
    rate = matrix_rate(model.dtype, inner=model.config.hidden_size, device=options.device)
    for n, prompt, response in CASES:
        batch = tokens(options.prompts, n, prompt, response, model.config.vocab_size - 200)
        ours = torch.tensor(score_ids(model, *batch)).flatten(0, 1)
        theirs = plain(model, *batch), trl_way(fused, *batch)
        apart = [float((ours - found.cpu()).abs().max()) for found in theirs]
        seconds = side_by_side({
            "padlab": lambda batch=batch: score_ids(model, *batch),
            "plain": lambda batch=batch: plain(model, *batch),
            "one by one": lambda batch=batch: plain(model, *batch, at_once=1),
            "trl": lambda batch=batch: trl_way(fused, *batch),
            "padlab, bfloat16": lambda batch=batch: score_ids(half, *batch),
        }, options.repeats)  # fmt: skip
        floor = options.prompts * forward_gflop(model, prompt + n * response, n * response) / rate
        print(f"n {n}, {prompt} + {response} tokens: largest difference {apart[0]:.1e} (plain), {apart[1]:.1e} (trl)")
        slower = {name: taken / seconds["padlab"] for name, taken in seconds.items()}
        for name, ratio in slower.items():
            print(f"  {name:16} {options.prompts / seconds[name]:6.2f} prompts/s  {ratio:5.2f} x padlab's time")
        if options.device == "cpu" and options.shape == "embedded":
            what = f"scoring {n} responses, prompt {prompt}, responses {response} tokens"
            keep_row(what, min(slower["plain"], slower["one by one"]), slower["trl"])
        share = floor / seconds["padlab"]
        print(f"  what the probe says: {probe_bfloat16(model, *batch)}")
        print(f"  floor ({rate:.0f} GFLOP/s, products only): padlab reaches {share:.0%}", flush=True)
    config = LlamaConfig(vocab_size=256_000, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    small, batch = LlamaForCausalLM(config).eval().to(options.device), tokens(1, 4, 32, 512, 256_000)
    score_ids(small, *batch)
    extra = [peak_extra_mib(lambda: score_ids(small, *batch)), peak_extra_mib(lambda: plain(small, *batch))]
    if options.device == "cpu":
        keep_row("peak extra memory, scoring 4 x 512 tokens at 256,000 words", extra[1] / extra[0])
    print(f"peak extra memory, 4 x 512 tokens, 256,000 words: padlab {extra[0]:.0f} MiB, plain {extra[1]:.0f} MiB "
          f"({extra[0] / extra[1]:.1%})")  # fmt: skip


if __name__ == "__main__":
    main()
