"""Candidates to and from TRL's preference formats."""

from __future__ import annotations

from itertools import combinations, pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from padlab.candidates import as_dataset, check_candidates
from padlab.conversations import PREVIOUS, conversation
from padlab.ranked_fields import Row

if TYPE_CHECKING:
    from datasets import Dataset

PAIRS = ("best_worst", "adjacent", "all", "unpaired")


def to_trl(
    table: Dataset,
    by: str = "teacher_reward",
    pairs: str = "best_worst",
    *,
    conversational: bool = True,
    implicit_prompt: bool = False,
) -> Dataset:
    """TRL's preference formats: pairs of responses of each prompt, or single responses with a label.

    Args:
        table: candidates with the column `by`.
        by: n numbers per row, higher is better.
        pairs: "best_worst"; "adjacent": neighbours in the order; "all": every pair; "unpaired": each response with a
            label, True where its number is above the prompt's mean (for TRL's KTOTrainer).
        conversational: messages; False gives plain texts.
        implicit_prompt: the conversation stands in chosen and rejected instead of in prompt.

    Returns:
        Dataset with prompt, chosen, rejected, chosen_score, rejected_score and margin, their difference, which TRL's
        RewardTrainer reads; or prompt, completion, label. Responses with equal numbers or equal texts make no pair; a
        prompt whose responses all have the same number is left out.

    Raises:
        ValueError: `by` is missing or holds no numbers, an unknown choice, or previous messages and plain text.

    >>> table = [{"prompt": "2 + 2?", "responses": ["5", "4"], "score": [0, 1]}]
    >>> to_trl(table, by="score", conversational=False)["chosen"][0]
    '4'
    """
    _check_choices(pairs, conversational, implicit_prompt)
    rows = []
    for row, entry in enumerate(check_candidates(table, needs=(by,))):
        values = entry[by]
        if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
            raise ValueError(
                f"row {row}: {by} must hold one number per response, got {values!r:.60}; name another column"
            )
        if not conversational and entry.get(PREVIOUS):
            raise ValueError(f"row {row}: {PREVIOUS} has no plain text; leave conversational=True or drop the row")
        prompt = conversation(entry) if conversational else entry["prompt"]
        answers = [[{"role": "assistant", "content": r}] if conversational else r for r in entry["responses"]]
        if implicit_prompt:
            answers, question = [[*prompt, *answer] for answer in answers], {}
        else:
            question = {"prompt": prompt}
        chosen = _labelled(answers, values) if pairs == "unpaired" else _paired(answers, values, pairs)
        rows += [{**question, **columns} for columns in chosen]
    return as_dataset(rows)


def _check_choices(pairs: str, conversational: bool, implicit_prompt: bool) -> None:
    if pairs not in PAIRS:
        raise ValueError(f"pairs must be one of {', '.join(PAIRS)}, got {pairs!r}")
    if implicit_prompt and (pairs == "unpaired" or not conversational):
        raise ValueError(
            "implicit_prompt=True needs pairs of messages: set conversational=True and pairs other than 'unpaired'"
        )


def _paired(answers: list[Any], values: list[float], pairs: str) -> list[Row]:
    """Chosen and rejected with their numbers, best first."""
    best_first = sorted(range(len(values)), key=values.__getitem__)[::-1]
    if pairs == "best_worst":
        found = [(best_first[0], best_first[-1])]
    elif pairs == "adjacent":
        found = pairwise(best_first)
    else:
        found = combinations(best_first, 2)
    return [
        {
            "chosen": answers[better],
            "rejected": answers[worse],
            "chosen_score": values[better],
            "rejected_score": values[worse],
            "margin": values[better] - values[worse],
        }
        for better, worse in found
        if values[better] > values[worse] and answers[better] != answers[worse]
    ]


def _labelled(answers: list[Any], values: list[float]) -> list[Row]:
    """Each answer, and whether its number is above the mean."""
    if min(values) == max(values):
        return []
    mean = fmean(values)
    return [{"completion": answer, "label": value > mean} for answer, value in zip(answers, values, strict=True)]
