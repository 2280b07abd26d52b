"""Scoring n responses to a prompt: padlab against plain transformers and trl, on the same tokens, in one run.

    python bench/scoring.py [--threads 2] [--prompts 4] [--repeats 5] [--shape gemma-2-2b --device cuda]

"plain": one row per response, full logits, log-softmax, gather; the n rows of a prompt in one batch. "one by one": the
same with one row at a time. "exact": padlab's reference (`padlab.lm.logprobs`). "trl": the log-probabilities of trl's
DPO trainer (with its fused output head) of the same rows. Memory: four responses of 512 tokens under a small model with
random weights and a vocabulary of 256,000.
"""

from copy import deepcopy

import torch
from _measure import forward_gflop, matrix_rate, network_of, peak_extra_mib, save_ratio, side_by_side, speed_options
from transformers import LlamaConfig, LlamaForCausalLM

from padlab.lm.fast.scoring import score_ids

CASES = [(4, 256, 64), (8, 256, 64), (4, 32, 64)]  # responses, tokens per prompt, tokens per response


def random_ids(count: int, n: int, prompt: int, response: int, vocabulary: int) -> tuple[list, list]:
    """Random prompts and responses."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randint(5, vocabulary, shape, generator=generator).tolist()  # noqa: E731
    return draw(count, prompt), draw(count, n, response)


@torch.no_grad()
def score_plainly(model, prompts, responses, rows_per_batch=None):
    """Full sequences, full logits."""
    scored = []
    for prompt, group in zip(prompts, responses, strict=True):
        rows = torch.tensor([prompt + r for r in group], device=model.device)
        for batch in rows.split(rows_per_batch or len(rows)):
            logps = model(input_ids=batch, use_cache=False).logits.log_softmax(-1)
            targets = batch[:, len(prompt) :]
            scored.append(logps[:, len(prompt) - 1 : -1].gather(-1, targets[..., None]).squeeze(-1))
    return torch.cat(scored)


@torch.no_grad()
def score_like_trl(model, prompts, responses):
    """As trl's DPO trainer does: labels at the responses, log-probabilities from its fused output head."""
    scored = []
    for prompt, group in zip(prompts, responses, strict=True):
        rows = torch.tensor([prompt + r for r in group], device=model.device)
        labels = rows.clone()
        labels[:, : len(prompt)] = -100
        output = model(
            input_ids=rows, attention_mask=torch.ones_like(rows), use_cache=False, labels=labels, fused_lm_head=True
        )
        scored.append(output.log_probs[:, -len(group[0]) :])
    return torch.cat(scored)


def compare_speed(model, fused, options, n: int, prompt: int, response: int, rate: float) -> None:
    """Agreement and times of all functions for one size."""
    ids = random_ids(options.prompts, n, prompt, response, model.config.vocab_size - 200)
    scores = torch.tensor(score_ids(model, *ids)).flatten(0, 1)
    others = score_plainly(model, *ids), score_like_trl(fused, *ids)
    differences = [float((scores - other.cpu()).abs().max()) for other in others]
    functions = {
        "padlab": lambda: score_ids(model, *ids),
        "padlab, exact": lambda: score_ids(model, *ids, exact=True),
        "plain": lambda: score_plainly(model, *ids),
        "one by one": lambda: score_plainly(model, *ids, rows_per_batch=1),
        "trl": lambda: score_like_trl(fused, *ids),
    }
    seconds = side_by_side(functions, options.repeats)
    print(f"n {n}, {prompt} + {response} tokens: largest difference {differences[0]:.1e} (plain), "
          f"{differences[1]:.1e} (trl)")  # fmt: skip
    ratios = {name: taken / seconds["padlab"] for name, taken in seconds.items()}
    for name, ratio in ratios.items():
        print(f"  {name:16} {options.prompts / seconds[name]:6.2f} prompts/s  {ratio:5.2f} x padlab's time")
    if options.device == "cpu" and options.shape == "embedded":
        name = f"scoring {n} responses, prompt {prompt}, responses {response} tokens"
        save_ratio(name, min(ratios["plain"], ratios["one by one"]), ratios["trl"])
    floor = options.prompts * forward_gflop(model, prompt + n * response, n * response) / rate
    print(f"  floor ({rate:.0f} GFLOP/s, products only): padlab reaches {floor / seconds['padlab']:.0%}", flush=True)


def compare_memory(device: str) -> None:
    """Peak memory with a large vocabulary."""
    config = LlamaConfig(vocab_size=256_000, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    model, ids = LlamaForCausalLM(config).eval().to(device), random_ids(1, 4, 32, 512, 256_000)
    score_ids(model, *ids)
    padlab_mib, plain_mib = (
        peak_extra_mib(run) for run in (lambda: score_ids(model, *ids), lambda: score_plainly(model, *ids))
    )
    if device == "cpu":
        save_ratio("peak extra memory, scoring 4 x 512 tokens at 256,000 words", plain_mib / padlab_mib)
    print(f"peak extra memory, 4 x 512 tokens, vocabulary 256,000: padlab {padlab_mib:.0f} MiB, plain "
          f"{plain_mib:.0f} MiB ({padlab_mib / plain_mib:.1%})")  # fmt: skip


def main() -> None:
    """Speed, agreement, memory."""
    from trl.trainer.utils import add_fused_lm_head

    options = speed_options(__doc__, prompts=4, repeats=5)
    model = network_of(options.shape, options.device)
    fused = deepcopy(model)
    add_fused_lm_head(fused, outputs=("log_probs",))
    rate = matrix_rate(model.dtype, inner=model.config.hidden_size, device=options.device)
    for case in CASES:
        compare_speed(model, fused, options, *case, rate)
    compare_memory(options.device)


if __name__ == "__main__":
    main()
