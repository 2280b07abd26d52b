"""Sampling n responses to many prompts: padlab against `generate`, prompt by prompt and in its best batch, in one run.

    python bench/sampling.py [--threads 2] [--prompts 32] [--n 4] [--tokens 64] [--repeats 3]

Prompt by prompt, only every fourth prompt is used: each is a batch of its own, so the rate does not depend on how many
there are. Tokens are counted up to the end of each response. The floor of a decoding step is the larger of reading all
weights once and of multiplying them with the batch's rows; prefill, attention and sampling the token are not counted.
The last line is a profile of one more pass of padlab.
"""

import time
from unittest import mock

import torch
from _measure import bandwidth, block_weights, matrix_rate, save_ratio, side_by_side, speed_options

import padlab
from padlab.lm import generate
from padlab.lm.chat import encode_chat, stop_ids

SAMPLING = {"temperature": 0.8, "top_p": 0.95}


def transformers_generate(model, prompt_ids, n, max_new_tokens, prompts_per_batch):
    """Responses of transformers' `generate`, prompts left-padded."""
    pad, responses = model.tokenizer.pad_token_id, []
    torch.manual_seed(0)
    for start in range(0, len(prompt_ids), prompts_per_batch):
        batch = prompt_ids[start : start + prompts_per_batch]
        longest = max(map(len, batch))
        ids = torch.tensor([[pad] * (longest - len(p)) + p for p in batch], device=model.device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in batch], device=model.device)
        output = model.model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, num_return_sequences=n, max_new_tokens=max_new_tokens,
            top_k=0, pad_token_id=pad, **SAMPLING,
        )  # fmt: skip
        responses += output[:, longest:].tolist()
    return responses


def print_profile(model, run) -> None:
    """Shares of one more pass: prefill, decoding (of it matrix products and attention), sampling tokens, the rest."""
    forward = model.model.forward
    model.model.forward = lambda *args, **options: labelled("model", forward)(*args, **options)
    with (
        mock.patch.object(generate, "sample_top_p", labelled("sample", generate.sample_top_p)),
        mock.patch.object(generate, "prefill", labelled("prefill", generate.prefill)),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
    ):
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
    del model.model.forward
    events = {event.key: event for event in profile.key_averages()}

    def share(*names: str) -> float:
        return 1e-6 * sum(events[name].cpu_time_total for name in names if name in events) / seconds

    products, attention = share("aten::mm", "aten::addmm"), share("aten::scaled_dot_product_attention")
    prefill, forward_passes, sample = share("prefill"), share("model"), share("sample")
    print(
        f"  profile of {seconds:.1f} s: prefill {prefill:.0%}, decoding {forward_passes - prefill:.0%}, sampling "
        f"tokens {sample:.0%}, the rest {1 - forward_passes - sample:.0%}; in prefill and decoding: matrix products "
        f"{products:.0%}, attention {attention:.0%}, the rest (norms, positions, cache, Python) "
        f"{forward_passes - products - attention:.0%}"
    )


def labelled(name, function):
    """The function with a name of its own in the profile."""

    def run(*args, **options):
        with torch.profiler.record_function(name):
            return function(*args, **options)

    return run


def tokens_to_the_end(responses, stops) -> int:
    """Number of tokens up to the one that ends the response, over all responses."""
    return sum(next((k + 1 for k, token in enumerate(ids) if token in stops), len(ids)) for ids in responses)


def main() -> None:
    """Tokens per second."""
    options = speed_options(__doc__, shapes=False, prompts=32, n=4, tokens=64, repeats=3)
    model = padlab.load_pair("pruned", device="cpu", dtype="float32").student
    stops = stop_ids(model.model, model.tokenizer)
    prompts = padlab.load_prompts("train", limit=options.prompts)
    prompt_ids = [encode_chat(model.tokenizer, text) for text in prompts["prompt"]]
    tokens: dict[str, int] = {}

    def sample_with_padlab():
        table = padlab.sample_responses(
            model, prompts, options.n, max_new_tokens=options.tokens, shard_size=options.prompts, **SAMPLING
        )
        tokens["padlab"] = sum(len(r) for row in table["response_ids"] for r in row)

    def sample_with_generate(name, prompts_per_batch, ids=prompt_ids):
        responses = transformers_generate(model, ids, options.n, options.tokens, prompts_per_batch)
        tokens[name] = tokens_to_the_end(responses, stops)

    one_by_one = "generate, one prompt at a time"
    functions = {
        "padlab": sample_with_padlab,
        one_by_one: lambda: sample_with_generate(one_by_one, 1, prompt_ids[::4]),
    }
    for size in (8, options.prompts):
        functions[f"generate, {size} prompts"] = lambda size=size: sample_with_generate(
            f"generate, {size} prompts", size
        )
    seconds = side_by_side(functions, options.repeats)
    rates = {name: tokens[name] / seconds[name] for name in functions}
    ratios = {name: rates["padlab"] / rate for name, rate in rates.items()}
    for name, rate in rates.items():
        print(f"  {name:32} {rate:6.1f} tokens/s   padlab / this: {ratios[name]:5.2f}")
    size = f"sampling {options.prompts} prompts x {options.n} x {options.tokens} tokens"
    save_ratio(f"{size}, against `generate` prompt by prompt", ratios[one_by_one])
    save_ratio(
        f"{size}, against `generate` in its best batch", min(r for name, r in ratios.items() if name != "padlab")
    )
    rows = options.prompts * options.n
    weights = block_weights(model.model) + model.model.get_output_embeddings().weight.numel()
    step = max(4e-9 * weights / bandwidth(), 2e-9 * weights * rows / matrix_rate(rows=rows))
    share = rates["padlab"] * step / rows
    print(f"  floor: {rows / step:.0f} tokens/s for {rows} rows in float32; padlab reaches {share:.0%}")
    print_profile(model, sample_with_padlab)


if __name__ == "__main__":
    main()
