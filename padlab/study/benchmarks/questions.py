"""Benchmark questions: what one holds, and how they are read from an official file or from the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from padlab.conversations import Message
from padlab.data_files import read_rows

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Question:
    """One question of a benchmark.

    Args:
        id: the official one.
        turns: the user's messages in order; each is sent after the answer to the one before.
        category: as in the official file.
        temperature: of sampling; 0 = greedy.
        before: messages in front of the first turn, e.g. worked examples.
        gold: the data set's answer, where there is one.
    """

    id: str
    turns: tuple[str, ...]
    category: str = ""
    temperature: float = 0.0
    before: tuple[Message, ...] = ()
    gold: str = ""


@dataclass(frozen=True)
class Hub:
    """Where the official question file is on the Hugging Face Hub."""

    repository: str
    file: str
    kind: str = "dataset"


def question_rows(source: str | Path | Sequence[Row] | None, hub: Hub) -> list[dict[str, Any]]:
    """The rows of a question file.

    Args:
        source: a file (`padlab.data_files.read_rows`); rows; None: the official file, from the Hub.
        hub: where that is.

    Raises:
        ValueError: no such file, a line that is not JSON (named), or the Hub cannot be reached.
    """
    source = _from_hub(hub) if source is None else source
    rows = read_rows(source) if isinstance(source, str | Path) else list(source)
    if bad := [row for row, entry in enumerate(rows) if not isinstance(entry, Mapping)]:
        raise ValueError(f"row {bad[0]} is a {type(rows[bad[0]]).__name__}, expected a dict")
    return [dict(row) for row in rows]


def make_questions(rows: Sequence[Row], make: Callable[[Row], Question], limit: int | None) -> list[Question]:
    """The questions of the first `limit` rows.

    Raises:
        ValueError: no rows, a row without a column that is needed, an empty question, an id used twice (row named).
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    questions: dict[str, Question] = {}
    for row, entry in enumerate(rows[:limit]):
        try:
            question = make(entry)
        except KeyError as error:
            raise ValueError(f"row {row}: no column {error}; there are {', '.join(entry)}") from None
        except ValueError as error:
            raise ValueError(f"row {row}: {error}; mend or drop that row") from None
        if questions.setdefault(question.id, question) is not question:
            raise ValueError(f"row {row}: the id {question.id} was used before; ids must differ")
    if not questions:
        raise ValueError("there are no questions; limit must be at least 1, and the file must hold a row")
    return list(questions.values())


def texts(turns: Any) -> tuple[str, ...]:
    """A question's turns, a list of texts or one text, as a tuple; ValueError where one is empty or no text.

    >>> texts("Name a bird.")
    ('Name a bird.',)
    """
    turns = tuple(turns) if isinstance(turns, list | tuple) else (turns,)
    if not turns or not all(isinstance(turn, str) and turn.strip() for turn in turns):
        raise ValueError(f"an empty question, or one that is no text: {turns!r:.60}")
    return turns


def _from_hub(hub: Hub) -> Path:
    from huggingface_hub import hf_hub_download

    from padlab.lm.hub import hub_answers, no_answer

    there = hub_answers()
    try:
        return Path(hf_hub_download(hub.repository, hub.file, repo_type=hub.kind, local_files_only=not there))
    except Exception as error:  # gated, not found, broken off: the Hub's errors have many types
        why = type(error).__name__ + ("" if there else f"; {no_answer()}")
        raise ValueError(
            f"{hub.file} of {hub.repository} cannot be had from the Hub ({why}): fetch it elsewhere and name the file "
            "(questions=..., on the command line --questions FILE)"
        ) from error
