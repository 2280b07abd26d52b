"""Data that people have ranked already, as a candidates table: train on it with VPD or PPD without a teacher model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from statistics import fmean, mean
from typing import TYPE_CHECKING, Any

from padlab.candidates import PER_RESPONSE, as_dataset, check_candidates
from padlab.conversations import PREVIOUS, conversation
from padlab.ranked_fields import Row, check_columns, read_rows
from padlab.ranked_shapes import RESPONSE_SHAPES, SHAPES, By, Ranked, Reader, read_lists, read_single, recognised

if TYPE_CHECKING:
    from datasets import Dataset

SCALES = ("standardised", "raw", "rank")
WRITTEN = ("prompt", PREVIOUS, "responses", "teacher_reward")


def from_ranked(
    dataset: Any,
    *,
    prompt: str | None = None,
    responses: str | None = None,
    score: str | None = None,
    rank: str | None = None,
    scale: str = "standardised",
    spread: float = 1.0,
    skip_faulty: bool = False,
) -> Dataset:
    """Candidates with `teacher_reward` from responses that have scores, ranks or a preference.

    Published shapes are recognised by their columns: TRL's preference formats (prompt given or within chosen and
    rejected, also unpaired), hh-rlhf, UltraFeedback (binarized too), Nectar, HelpSteer2 and 3, tables of prompt,
    completions and rewards, and candidates or single responses with a column of scores. Others are told by name.

    Args:
        dataset: a `datasets.Dataset` or a list of row dicts.
        prompt: column of the questions, texts or messages; "prompt" where only `responses` is told.
        responses: column of the responses: a list per row, or one response per row (rows of one conversation belong
            together, in the order of their first appearance); "responses" where only `prompt` is told.
        score: column, or field within each response of UltraFeedback's shape, of the scores; higher is better.
        rank: the same for ranks; 1 is best, a rank used twice is a tie. Give one of score and rank.
        scale: "standardised": scores less their prompt's mean, divided by the standard deviation within prompts over
            the whole table, times `spread`; "rank": the order alone, neighbouring ranks `spread` apart, ties share
            their mean rank; "raw": the scores as they are, ranks as minus the rank.
        spread: nats/token, > 0; without effect for "raw". beta * spread is what the distribution over rankings sees.
            Too little is worse than too much: it asks for responses that are all alike. In the reading world (beta 2)
            0.2 makes right answers rarer than before training, 1 to 4 make them more frequent (docs/results.md).
        skip_faulty: leave out rows that cannot be read, with a warning that counts and names them.

    Returns:
        Dataset with prompt, previous_messages where there are any, responses, finished (true: the end-of-turn token
        counts; a column of that name in the data stays), teacher_reward and the row's other columns. Equal scores give
        equal rewards, and so do equal texts of a prompt (they share their mean score). Chosen counts 1 and rejected 0
        where there are no scores. With one response per row, equal texts become one response, and fields that differ
        between a prompt's responses and prompts with a single response are left out; warnings say so.

    Raises:
        ValueError: an unknown shape, a row that cannot be read (row, column and remedy named), or no prompt with
            different scores.

    >>> from_ranked([{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}])["teacher_reward"][0]
    [1.0, -1.0]
    """
    by = _checked_options(score, rank, scale, spread)
    table = as_dataset(dataset)
    if not len(table):
        raise ValueError("the table has no rows; give at least one prompt with two responses")
    reader, single = _reader(table, prompt, responses, by)
    rows = read_rows(table, lambda entry, where: _read(entry, where, reader, by), skip_faulty)
    rows, unused = _grouped(rows) if single else (rows, [])
    unused = dict.fromkeys([name for ranked, _ in rows for name in ranked.unused] + unused)
    if unused:
        warnings.warn(f"fields of single responses are left out: {', '.join(unused)}", stacklevel=2)
    rewards = _rewards(_shared_by_equal_texts([ranked for ranked, _ in rows]), scale, spread)
    return check_candidates(
        [
            {
                **ranked.asked,
                "responses": ranked.responses,
                "finished": [True] * len(reward),  # whole answers: their end counts
                "teacher_reward": reward,
                **rest,
            }
            for (ranked, rest), reward in zip(rows, rewards, strict=True)
        ]
    )


def _checked_options(score: str | None, rank: str | None, scale: str, spread: float) -> By | None:
    """The told field of the numbers, if any."""
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    if not (isinstance(spread, int | float) and math.isfinite(spread) and spread > 0):
        raise ValueError(f"spread must be a finite number > 0 (nats/token), got {spread!r}")
    if score is not None and rank is not None:
        raise ValueError("give score= or rank=, not both")
    return (score, 1) if score is not None else (rank, -1) if rank is not None else None


def _reader(table: Dataset, prompt: str | None, responses: str | None, by: By | None) -> tuple[Reader, bool]:
    """How a row is read, and whether it is one response: told by column names, or recognised."""
    there = f"there are {', '.join(table.column_names)}"
    if prompt is None and responses is None:
        shape = recognised(table.column_names)
        if shape is None:
            shapes = "; ".join(f"{name} ({', '.join(needed)})" for name, needed, _ in (*SHAPES, *RESPONSE_SHAPES))
            tell = "from_ranked(table, prompt='...', responses='...', score='...' or rank='...')"
            raise ValueError(f"unknown shape: {there}. Name the columns: {tell}. Recognised: {shapes}")
        return shape[1:]
    if by is None:
        raise ValueError("score= or rank= must be named beside prompt= and responses=")
    names = (prompt or "prompt", responses or "responses")
    check_columns(table[0], (*names, by[0]))
    single = _is_response(table[0][names[1]])
    read = read_single if single else read_lists
    return lambda entry, where, by: read(entry, where, names, by), single


def _is_response(value: Any) -> bool:
    """A text, or messages; otherwise it is a list of responses."""
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _read(entry: Row, where: str, reader: Reader, by: By | None) -> tuple[Ranked, Row]:
    """What a row says and its other columns."""
    ranked = reader(entry, where, by)
    if taken := [name for name in WRITTEN if entry.get(name) is not None]:
        raise ValueError(f"{where}: {', '.join(taken)} would be written over; remove or rename that column")
    return ranked, {name: value for name, value in entry.items() if name not in WRITTEN}


def _grouped(rows: Iterable[tuple[Ranked, Row]]) -> tuple[list[tuple[Ranked, Row]], list[str]]:
    """Rows of one response as rows of a prompt; the names of columns that differ between responses of a prompt."""
    groups: dict[Any, list[tuple[int, Ranked, Row]]] = {}
    for row, (ranked, rest) in enumerate(rows):
        key = tuple((m["role"], m["content"]) for m in conversation(ranked.asked))
        groups.setdefault(key, []).append((row, ranked, rest))
    texts = {key: {ranked.responses[0] for _, ranked, _ in members} for key, members in groups.items()}
    alone = [members[0][0] for key, members in groups.items() if len(texts[key]) == 1]
    whole = [members for key, members in groups.items() if len(texts[key]) > 1]
    if not whole:
        raise ValueError("no prompt has two responses; rows of one prompt must have equal prompts")
    if alone:
        warnings.warn(f"{len(alone)} prompts with one response are left out, first row {alone[0]}", stacklevel=3)
    differ = [n for n in whole[0][0][2] if any(rest[n] != m[0][2][n] for m in whole for _, _, rest in m)]
    differ = list(dict.fromkeys([*differ, *(n for n in whole[0][0][2] if n in PER_RESPONSE)]))
    return [_joined(members, differ) for members in whole], differ


def _joined(members: list[tuple[int, Ranked, Row]], differ: list[str]) -> tuple[Ranked, Row]:
    """One prompt's rows as one; of equal texts (several raters) the mean score."""
    _, first, rest = members[0]
    scores: dict[str, list[float]] = {}
    for _, ranked, _ in members:
        scores.setdefault(ranked.responses[0], []).append(ranked.scores[0])
    unused = tuple(name for _, ranked, _ in members for name in ranked.unused)
    joined = Ranked(first.asked, list(scores), [_mean(values) for values in scores.values()], unused)
    return joined, {name: value for name, value in rest.items() if name not in differ}


def _shared_by_equal_texts(rows: list[Ranked]) -> list[list[float]]:
    """Each prompt's scores; equal texts share their mean score, with a warning where these differed."""
    shared, changed = [], 0
    for ranked in rows:
        of_text: dict[str, list[float]] = {}
        for text, score in zip(ranked.responses, ranked.scores, strict=True):
            of_text.setdefault(text, []).append(score)
        changed += any(len(set(scores)) > 1 for scores in of_text.values())
        shared.append([_mean(of_text[text]) for text in ranked.responses])
    if changed:
        warnings.warn(
            f"{changed} prompts hold equal responses with different scores: they share the mean", stacklevel=3
        )
    return shared


def _rewards(scores: list[list[float]], scale: str, spread: float) -> list[list[float]]:
    """Scores of each prompt on the scale; the order of summation does not matter."""
    if all(len(set(row)) == 1 for row in scores):
        raise ValueError(
            "no prompt has responses with different scores, so there is nothing to learn; check the scores"
        )
    if scale == "raw":
        return scores
    if scale == "rank":
        return [[spread * ((len(row) + 1) / 2 - _mean_rank(value, row)) for value in row] for row in scores]
    centred = [[value - _mean(row) for value in row] for row in _within_one(scores)]
    unit = _within_one(centred)
    deviation = math.sqrt(fmean(value * value for row in unit for value in row))
    return [[spread * value / deviation for value in row] for row in unit]


def _within_one(rows: list[list[float]]) -> list[list[float]]:
    """The numbers divided by the largest one, so that no sum or square is too large or too small."""
    largest = max(abs(value) for row in rows for value in row)
    return [[value / largest for value in row] for row in rows]


def _mean(values: list[float]) -> float:
    """The mean; exactly the value itself where all are equal."""
    return values[0] if len(set(values)) == 1 else mean(values)  # fmean cannot add up the largest numbers


def _mean_rank(value: float, row: list[float]) -> float:
    """Rank of a score among its prompt's, 1 is best; equal scores share the mean of their ranks."""
    return sum(other > value for other in row) + (row.count(value) + 1) / 2
