"""Sampling n responses to many prompts: padlab against `generate`, prompt by prompt and in its best batch, in one run.

    python bench/sampling.py [--threads 2] [--prompts 32] [--n 4] [--tokens 64] [--repeats 3]

Prompt by prompt only every fourth prompt is drawn: each is a batch of its own, so the rate does not depend on how many
there are. Tokens are counted up to where a response ends. The floor of a decoding step is the larger of reading all
weights once and of multiplying them with the batch's rows; prefilling, attention and choosing the token come on top.
What padlab's time goes to is printed last, by a profile of one more pass.
"""

import time
from unittest import mock

import torch
from _measure import bandwidth, block_weights, keep_row, matrix_rate, side_by_side, speed_options

import padlab
from padlab.lm import generate
from padlab.lm.chat import encode_chat, stop_ids

OPTIONS = {"temperature": 0.8, "top_p": 0.95}


def generated(model, prompt_ids, n, count, at_once):
    """Responses by transformers' `generate`, so many prompts at a time, left-padded."""
    network, pad, found = model.model, model.tokenizer.pad_token_id, []
    torch.manual_seed(0)
    for start in range(0, len(prompt_ids), at_once):
        piece = prompt_ids[start : start + at_once]
        longest = max(map(len, piece))
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in piece])
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in piece])
        out = network.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, num_return_sequences=n, max_new_tokens=count, top_k=0,
            pad_token_id=pad, **OPTIONS,
        )  # fmt: skip
        found += out[:, longest:].tolist()
    return found


def print_profile(model, run) -> None:
    """Shares of one more pass: prefill, decoding (of it matrix products and attention), choosing tokens, the rest."""
    step = model.model.forward
    model.model.forward = lambda *args, **more: labelled("model", step)(*args, **more)
    with (
        mock.patch.object(generate, "sample_top_p", labelled("choosing", generate.sample_top_p)),
        mock.patch.object(generate, "prefill", labelled("prefill", generate.prefill)),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
    ):
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    del model.model.forward
    found = {event.key: event for event in profile.key_averages()}

    def share(*names: str) -> float:
        return 1e-6 * sum(found[n].cpu_time_total for n in names if n in found) / seconds

    products, attention = share("aten::mm", "aten::addmm"), share("aten::scaled_dot_product_attention")
    prefill, both, choosing = share("prefill"), share("model"), share("choosing")
    print(
        f"  profile of {seconds:.1f} s: prefill {prefill:.0%}, decoding {both - prefill:.0%}, choosing {choosing:.0%}, "
        f"the rest {1 - both - choosing:.0%}; in prefill and decoding: matrix products {products:.0%}, attention "
        f"{attention:.0%}, the rest (norms, positions, cache, Python) {both - products - attention:.0%}"
    )


def labelled(name, function):
    """The function under a name of its own in the profile."""

    def run(*args, **more):
        with torch.profiler.record_function(name):
            return function(*args, **more)

    return run


def real_tokens(rows, stops) -> int:
    """Tokens up to the one that ends the response."""
    return sum(next((k + 1 for k, t in enumerate(row) if t in stops), len(row)) for row in rows)


def main() -> None:
    """Tokens per second of each way."""
    options = speed_options(__doc__, shapes=False, prompts=32, n=4, tokens=64, repeats=3)
    _, model = padlab.load_pair("pruned", device="cpu", dtype="float32")
    stops = stop_ids(model.model, model.tokenizer)
    prompts = padlab.load_prompts("train", limit=options.prompts)
    ids = [encode_chat(model.tokenizer, text) for text in prompts["prompt"]]
    drawn: dict[str, int] = {}

    def ours():
        table = padlab.sample_responses(
            model, prompts, options.n, max_new_tokens=options.tokens, shard_size=options.prompts, **OPTIONS
        )
        drawn["padlab"] = sum(len(r) for row in table["response_ids"] for r in row)

    def theirs(name, at_once, among=ids):
        drawn[name] = real_tokens(generated(model, among, options.n, options.tokens, at_once), stops)

    ways = {
        "padlab": ours,
        "generate, one prompt at a time": lambda: theirs("generate, one prompt at a time", 1, ids[::4]),
    }
    for batch in (8, options.prompts):
        ways[f"generate, {batch} prompts"] = lambda batch=batch: theirs(f"generate, {batch} prompts", batch)
    seconds = side_by_side(ways, options.repeats)
    rates = {name: drawn[name] / seconds[name] for name in ways}
    for name, rate in rates.items():
        print(f"  {name:32} {rate:6.1f} tokens/s   padlab / this: {rates['padlab'] / rate:5.2f}")
    what = f"sampling {options.prompts} prompts x {options.n} x {options.tokens} tokens"
    faster = {name: rates["padlab"] / rate for name, rate in rates.items() if name != "padlab"}
    keep_row(f"{what}, against `generate` prompt by prompt", faster["generate, one prompt at a time"])
    keep_row(f"{what}, against `generate` in its best batch", min(faster.values()))
    rows = options.prompts * options.n
    weights = block_weights(model.model) + model.model.get_output_embeddings().weight.numel()
    step = max(4e-9 * weights / bandwidth(), 2e-9 * weights * rows / matrix_rate(rows=rows))
    share = rates["padlab"] * step / rows
    print(f"  floor: {rows / step:.0f} tokens/s for {rows} rows in float32; padlab reaches {share:.0%}")
    print_profile(model, ours)


if __name__ == "__main__":
    main()
