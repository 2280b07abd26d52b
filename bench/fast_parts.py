"""What each part of the fast paths gains: the same work with that part switched off, in one run.

    python bench/fast_parts.py [--threads 1] [--prompts 32] [--n 4] [--tokens 64] [--repeats 5]

Sampling as in bench/sampling.py: transformers' growing cache, one left-padded prefill, finished rows kept in the batch,
the whole vocabulary sorted at every step. Selection questions of 4 prompts: each question in a row of its own. A
training step as in bench/training.py: the logits computed again in the backward pass (as is done for more than 64 MiB).
The functions take turns. Ratios are medians of the process's CPU time, which other jobs disturb less.
"""

import statistics
import time
from collections.abc import Callable

import torch
from _measure import speed_options
from scoring import random_ids
from torch.nn.functional import pad
from training import N, padlab_step
from transformers.cache_utils import DynamicLayer

import padlab
from padlab.lm import generate
from padlab.lm.adapters import trainable_copy
from padlab.lm.fast import kv_cache, lm_head
from padlab.phases import multiple_choice


class GrowingLayer(DynamicLayer):
    """The layer of transformers, with the method that `generate.prefill` needs to join groups of prompts."""

    def __init__(self, capacity: int) -> None:
        super().__init__()

    def append_rows(self, other: DynamicLayer) -> None:
        """Add rows; the shorter layer is padded on the left."""
        if not self.is_initialized:
            self.lazy_initialization(other.keys, other.values)
            self.keys, self.values = other.keys, other.values
            return
        length = max(self.keys.shape[-2], other.keys.shape[-2])
        aligned = lambda states: pad(states, (0, 0, length - states.shape[-2], 0))  # noqa: E731
        self.keys = torch.cat([aligned(self.keys), aligned(other.keys)])
        self.values = torch.cat([aligned(self.values), aligned(other.values)])


def patched(function: Callable[[], object], *patches: tuple[object, str, object]) -> Callable[[], None]:
    """The function with attributes replaced while it runs."""

    def run() -> None:
        originals = [getattr(module, name) for module, name, _ in patches]
        for module, name, value in patches:
            setattr(module, name, value)
        try:
            function()
        finally:
            for (module, name, _), value in zip(patches, originals, strict=True):
                setattr(module, name, value)

    return run


def print_ratios(title: str, functions: dict[str, Callable[[], object]], repeats: int) -> None:
    """CPU time of each function over that of the first; the functions take turns."""
    for run in functions.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, run in functions.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    first = next(iter(seconds.values()))
    print(f"{title}: {statistics.median(first):.2f} s of CPU time")
    for name, times in list(seconds.items())[1:]:
        ratios = [b / a for a, b in zip(first, times, strict=True)]
        print(f"  {name:40} {statistics.median(ratios):.3f} x  [{min(ratios):.3f} to {max(ratios):.3f}]", flush=True)


def main() -> None:
    """Ratios of sampling, selection and a training step."""
    options = speed_options(__doc__, shapes=False, threads=1, prompts=32, n=4, tokens=64, repeats=5)
    student, teacher = padlab.load_pair("pruned", device="cpu", dtype="float32")
    prompts = padlab.load_prompts("train", limit=options.prompts)
    sampling = {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": options.tokens, "shard_size": options.prompts}
    sample = lambda: padlab.sample_responses(student, prompts, options.n, **sampling)  # noqa: E731
    growing = [(kv_cache, "PreallocatedLayer", GrowingLayer), (generate, "PreallocatedLayer", GrowingLayer)]
    print_ratios("sampling", {
        "as it is": sample,
        "DynamicCache": patched(sample, *growing),
        "one prefill": patched(sample, (generate, "group_by_length", lambda ids: [ids])),
        "finished rows stay": patched(sample, (generate, "COMPACT_BELOW", -1.0)),
        "whole vocabulary sorted": patched(sample, (generate, "TOP_TOKENS", 1)),
    }, options.repeats)  # fmt: skip
    table = padlab.sample_responses(student, prompts.select(range(4)), 4, max_new_tokens=48)
    ask = lambda: padlab.add_selection_probs(table, teacher)  # noqa: E731
    rows_of_their_own = (multiple_choice, "group_into_rows", lambda questions: [[ids] for ids in questions])
    print_ratios("selection", {"as it is": ask, "no shared rows": patched(ask, rows_of_their_own)}, options.repeats)
    model = trainable_copy(teacher.model, "auto", 0).train()
    (prompt,), (responses,) = random_ids(1, N, 256, 64, teacher.model.config.vocab_size - 200)
    scores = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    step = lambda: padlab_step(model, prompt, responses, scores)  # noqa: E731
    print_ratios("training step", {
        "as it is": step,
        "logits computed again": patched(step, (lm_head, "MAX_LOGITS", lm_head.MAX_LOGITS // 2)),
    }, options.repeats)  # fmt: skip


if __name__ == "__main__":
    main()
