"""How well does a model answer selection questions? Pairs whose better side is known by construction.

Small models do not bind a letter to a content ("symbol binding", arXiv 2406.01026): they pick the first letter whatever
stands beside it. `padlab.study.judge_training` trains an adapter that does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from padlab import LanguageModel, add_selection_probs
from padlab.conversations import conversation, transcript
from padlab.rankings.intervals import Interval, mean_interval, share_interval

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class PreferencePair:
    """Two responses to a prompt of which one is better by construction.

    Args:
        prompt, better, worse: texts.
        kind: "own" (the teacher's response against the weaker student's; `prepare_judge` samples the first at T 0.3 and
            the second at T 1, so that model and temperature both speak for the better one) or "other" (a response to
            this prompt against one to another prompt, both the teacher's).
    """

    prompt: str
    better: str
    worse: str
    kind: str


def make_pairs(student: Dataset, teacher: Dataset, *, seed: int = 0) -> list[PreferencePair]:
    """Pairs from both models' samples to the same prompts: one "own" and one "other" per prompt, of different samples.

    Args:
        student, teacher: tables with the same prompts; the teacher's with at least two responses each.
        seed: decides which other prompt a response is taken from.

    Raises:
        ValueError: the tables have different prompts, or too few prompts or responses.
    """
    if [conversation(entry) for entry in student] != [conversation(entry) for entry in teacher]:
        raise ValueError("make_pairs: both tables need the same prompts in the same order")
    if len(teacher) < 2 or min(len(r) for r in teacher["responses"]) < 2:
        raise ValueError("make_pairs: needs two prompts or more, and two responses of the teacher to each")
    rng, count, pairs = random.Random(seed), len(teacher), []
    for row, (prompt, weaker, stronger) in enumerate(
        zip(map(transcript, teacher), student["responses"], teacher["responses"], strict=True)
    ):
        other = teacher["responses"][(row + rng.randrange(1, count)) % count]
        for kind, better, worse in (("own", stronger[0], weaker[0]), ("other", stronger[1], other[1])):
            if better.strip() and worse.strip() and worse != better:
                pairs.append(PreferencePair(prompt, better, worse, kind))
    return pairs


def judge_quality(
    model: LanguageModel, pairs: Sequence[PreferencePair], **selection: Any
) -> dict[str, dict[str, Interval]]:
    """How well a model answers pairs whose better side is known, each in both orders.

    Args:
        model: with or without judge.
        pairs: see `make_pairs`.
        selection: further arguments of `add_selection_probs`.

    Returns:
        per kind of pair, with 95 % intervals over prompts: accuracy (after averaging both orders), p_better (mean
        selection probability of the better one), prob_first (0.5 = no bias by place), option_mass, order_consistency.
        The intervals are bootstrap intervals; those of accuracy and order_consistency are Wilson's where every prompt
        has 0 or 1 (as with one pair each), so that they have a width also where all prompts agree.
    """
    rows = [{"prompt": p.prompt, "responses": [p.better, p.worse]} for p in pairs]
    table = add_selection_probs(rows, model, "pairwise", **selection)
    kinds = list(dict.fromkeys(p.kind for p in pairs))
    return {kind: _quality([entry for entry, p in zip(table, pairs, strict=True) if p.kind == kind]) for kind in kinds}


def _quality(rows: Sequence[dict[str, Any]]) -> dict[str, Interval]:
    better = [row["selection_prob"][0] for row in rows]
    measures = {
        "accuracy": [float(p > 0.5) for p in better],
        "p_better": better,
        "prob_first": [0.5 + row["position_bias"] for row in rows],
        **{name: [row[name] for row in rows] for name in ("option_mass", "order_consistency")},
    }
    shares = "accuracy", "order_consistency"
    per_prompt = {name: _per_prompt(rows, values) for name, values in measures.items()}
    return {
        name: share_interval(values) if name in shares and set(values) <= {0.0, 1.0} else mean_interval(values)
        for name, values in per_prompt.items()
    }


def _per_prompt(rows: Sequence[dict[str, Any]], values: Sequence[float]) -> list[float]:
    """Means over the pairs of a prompt: they share its text and are no independent evidence."""
    by_prompt: dict[str, list[float]] = {}
    for row, value in zip(rows, values, strict=True):
        by_prompt.setdefault(row["prompt"], []).append(float(value))
    return [sum(values) / len(values) for values in by_prompt.values()]
