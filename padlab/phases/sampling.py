"""Phase 1: the student draws n independent responses per prompt, at high temperature so that they differ.

Every response has its own stream of random numbers, keyed by (seed, prompt, response number), so it is the same
whatever else is in the batch, and a resumed run draws what the unbroken run would have drawn.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from padlab.candidates import OF_RESPONSES, add_columns, check_candidates
from padlab.conversations import conversation, transcript
from padlab.lm.chat import decode_answer, encode_chat, stop_ids
from padlab.lm.generate import generate_rows
from padlab.lm.models import LanguageModel
from padlab.lm.remote.dispatch import check_known_ids, rows_per_shard
from padlab.lm.remote.server import Server
from padlab.progress import is_main_process
from padlab.prompts import load_prompts
from padlab.safe_files import fingerprint
from padlab.shards import in_shards

if TYPE_CHECKING:
    from datasets import Dataset

DISTINCT_TRIES = 4  # rounds of redrawing repeated responses
MIN_TEMPERATURE = 1e-4  # below, logits over temperature leave the range of float32


def sample_responses(
    student: LanguageModel,
    prompts: Dataset | Sequence[str],
    n: int = 4,
    *,
    temperature: float = 1.0,
    top_p: float = 0.95,
    max_new_tokens: int = 64,
    seed: int = 0,
    distinct: bool = False,
    oversample: int | None = None,
    folder: str | Path | None = None,
    shard_size: int = 16,
) -> Dataset:
    """Draw n independent responses per prompt from the student.

    Args:
        student: the model that samples (any `LanguageModel`).
        prompts: a table with a `prompt` column, or a list of strings.
        n: responses per prompt, >= 2 (released scripts: 4).
        temperature: > 0 (paper: 0.8, released scripts: 1.0). Towards 0 it becomes greedy.
        top_p: nucleus, 0 < top_p <= 1 (released scripts: 0.95).
        max_new_tokens: >= 1; a response that has not ended by then is marked unfinished.
        seed: same seed and prompt, same responses, alone or in any batch (float32); so repeated prompts repeat them.
        distinct: draw again where two responses of a prompt have the same text, at most four times; what still repeats
            is counted in `duplicates`.
        oversample: draw this many (>= n) and keep n far-apart ones (greedy max-min normalised edit distance;
            the released scripts use 4 of 5). Evaluate on independent samples, without `oversample` and `distinct`.
        folder: run folder for resuming; None keeps nothing.
        shard_size: prompts sampled together.

    Returns:
        The prompts' table, with columns of the user's own but without those of earlier responses, and `responses`,
        `response_ids`, `response_tokenizer`, `finished`, `duplicates` (how many repeat an earlier one of the prompt).

    Raises:
        ValueError: a setting out of range, an empty prompt, or a prompt too long for the context (names the row).

    >>> student, teacher = load_pair("tiny")
    >>> len(sample_responses(student, ["Hi"], n=3, max_new_tokens=4)["responses"][0])
    3
    """
    _check_settings(n, temperature, top_p, max_new_tokens, oversample)
    if folder is None and (count := os.environ.get("WORLD_SIZE", "1")) != "1" and is_main_process():
        warnings.warn(f"each of {count} processes samples all responses; with folder= they share them", stacklevel=2)
    table = load_prompts(prompts)
    table = table.remove_columns([name for name in OF_RESPONSES if name in table.column_names])
    prompt_ids = [encode_chat(student.tokenizer, conversation(entry)) for entry in table]
    check_known_ids(student.model, prompt_ids, [f"row {row}" for row in range(len(table))])
    check_context(student, prompt_ids, max_new_tokens)
    options = {"temperature": temperature, "top_p": top_p, "max_new_tokens": max_new_tokens}

    def draw(rows: Sequence[int], numbers: Sequence[Sequence[int]]) -> list[list[dict[str, Any]]]:
        """For each row its responses of these numbers."""
        texts, names = [transcript(table[row]) for row in rows], [f"row {row}" for row in rows]
        ids = [prompt_ids[row] for row in rows]
        return draw_responses(student, ids, texts, numbers, seed=seed, names=names, **options)

    def work(rows: Sequence[int]) -> list[dict[str, Any]]:
        try:
            drawn = draw(rows, [range(oversample or n)] * len(rows))
        except FloatingPointError as error:
            raise FloatingPointError(f"rows {rows[0]} to {rows[-1]}: {error}") from None
        if distinct:
            _redraw_repeats(drawn, lambda places, numbers: draw([rows[k] for k in places], numbers))
        kept = [pick_diverse([r["text"] for r in row], n) if oversample else range(n) for row in drawn]
        return [_columns([row[k] for k in keep]) for row, keep in zip(drawn, kept, strict=True)]

    settings = {**options, "n": n, "seed": seed, "distinct": distinct, "oversample": oversample}
    settings |= {"student": student.describe(), "prompts": fingerprint(list(table["prompt"]), prompt_ids)}
    size = rows_per_shard(student.model, shard_size)
    rows = in_shards(range(len(table)), work, stage="sample", settings=settings, folder=folder, shard_size=size)
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    columns["response_tokenizer"] = [student.tokenizer_hash()] * len(rows)
    return check_candidates(add_columns(table, columns))


def draw_responses(
    model: LanguageModel,
    prompt_ids: Sequence[Sequence[int]],
    prompts: Sequence[str],
    numbers: Sequence[Sequence[int]],
    *,
    seed: int,
    **options: Any,
) -> list[list[dict[str, Any]]]:
    """Sample the responses of given numbers to each prompt, all in one batch.

    Args:
        model: the model that samples.
        prompt_ids: the prompts as token ids, behind which the answer begins.
        prompts: what keys the random numbers, with seed and number.
        numbers: per prompt, the numbers of its responses.
        seed: see `sample_responses`.
        options: temperature, top_p, max_new_tokens, and names: what errors call the prompts.

    Returns:
        per prompt and number: ids (the stop id included), text, finished.
    """
    if isinstance(model.model, Server):
        return model.model.draw(prompt_ids, prompts, numbers, seed=seed, **options)
    steps, stops = options["max_new_tokens"], stop_ids(model.model, model.tokenizer)
    uniforms = [_random_streams(seed, text, ks, steps) for text, ks in zip(prompts, numbers, strict=True)]
    sampled = generate_rows(model.model, model.tokenizer, prompt_ids, uniforms, **options)
    return [
        [_response(model.tokenizer, asked, ids, stops) for ids in group]
        for asked, group in zip(prompt_ids, sampled, strict=True)
    ]


def pick_diverse(texts: Sequence[str], n: int) -> list[int]:
    """Indices of n texts far apart: start with the first, then always the one furthest from those already kept.

    Distance is the normalised Levenshtein distance, 0 (same) to 1; ties go to the lower index.

    Args:
        texts: at least one.
        n: how many to keep, 1 to the number of texts.

    Returns:
        indices into `texts` in the order of choice.

    >>> pick_diverse(["aaaa", "aaab", "zzzz"], 2)
    [0, 2]
    """
    from rapidfuzz.distance import Levenshtein

    kept = [0]
    while len(kept) < n:
        gap = [min(Levenshtein.normalized_distance(t, texts[k]) for k in kept) for t in texts]
        kept.append(max((i for i in range(len(texts)) if i not in kept), key=lambda i: (gap[i], -i)))
    return sorted(kept)


def random_stream(seed: int, prompt: str, number: int, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) that belong to one response: counter-based (Philox), keyed by all three."""
    key = hashlib.blake2b(f"{seed}\0{number}\0{prompt}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(count)


def check_context(model: LanguageModel, prompt_ids: Sequence[Sequence[int]], new_tokens: int) -> None:
    """ValueError naming the first row whose prompt and answer do not fit into the model's context."""
    for row, ids in enumerate(prompt_ids):
        if len(ids) + new_tokens > model.max_length:
            raise ValueError(
                f"row {row}: the prompt has {len(ids)} tokens; with {new_tokens} more it exceeds the context of "
                f"{model.name} ({model.max_length}). Shorten the prompt, drop the row or lower max_new_tokens"
            )


def _random_streams(seed: int, prompt: str, numbers: Sequence[int], count: int) -> np.ndarray:
    return np.stack([random_stream(seed, prompt, number, count) for number in numbers])


def _redraw_repeats(drawn: list[list[dict[str, Any]]], draw: Callable) -> None:
    """Replace repeated texts in `drawn` by further draws (numbers not used before), a few times; others stay."""
    used = [len(row) for row in drawn]
    repeats = {k: _repeats([r["text"] for r in row]) for k, row in enumerate(drawn)}
    for _ in range(DISTINCT_TRIES):
        repeats = {k: places for k, places in repeats.items() if places}
        if not repeats:
            return
        numbers = [range(used[k], used[k] + len(places)) for k, places in repeats.items()]
        for k, responses in zip(list(repeats), draw(list(repeats), numbers), strict=True):
            used[k] += len(responses)
            repeats[k] = [at for at, new in zip(repeats[k], responses, strict=True) if _replace(drawn[k], at, new)]


def _replace(row: list[dict[str, Any]], at: int, response: dict[str, Any]) -> bool:
    """Put a response into its row; whether its text still occurs elsewhere in the row."""
    row[at] = response
    return any(other["text"] == response["text"] for k, other in enumerate(row) if k != at)


def _response(tokenizer: Any, prompt_ids: list[int], ids: list[int], stops: set[int]) -> dict[str, Any]:
    text = decode_answer(tokenizer, prompt_ids, ids, stops)
    return {"ids": ids, "text": text, "finished": ids[-1] in stops}


def _repeats(texts: Sequence[str]) -> list[int]:
    return [k for k, text in enumerate(texts) if text in texts[:k]]


def _columns(row: list[dict[str, Any]]) -> dict[str, Any]:
    texts = [r["text"] for r in row]
    return {
        "responses": texts,
        "response_ids": [r["ids"] for r in row],
        "finished": [r["finished"] for r in row],
        "duplicates": len(_repeats(texts)),
    }


def _check_settings(n: int, temperature: float, top_p: float, max_new_tokens: int, oversample: int | None) -> None:
    if n < 2:
        raise ValueError(f"n must be at least 2 (a ranking needs two responses), got {n}")
    if not MIN_TEMPERATURE <= temperature < float("inf"):
        raise ValueError(
            f"temperature must be a positive number, got {temperature}; use 0.01 for nearly greedy, at least "
            f"{MIN_TEMPERATURE:g}"
        )
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    if oversample is not None and oversample < n:
        raise ValueError(f"oversample must be at least n = {n}, got {oversample}")
