"""Prompts in: the bundled splits, a file, any `datasets` data set, or a list of strings."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padlab.bundled import bundled
from padlab.candidates import as_dataset, rows_of
from padlab.conversations import PREVIOUS, prompt_columns, turns
from padlab.data_files import read_rows

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "heldout")


def load_prompts(source: Any = "train", limit: int | None = None, column: str | None = None) -> Dataset:
    """A table with one prompt per row, ready for `sample_responses`.

    Args:
        source: "train" or "heldout" (written for padlab, mixed over categories in file order); a file (.jsonl, .csv,
            ..., see `padlab.data_files`); a `datasets.Dataset`, e.g. `datasets.load_dataset("openbmb/UltraFeedback",
            split="train")` with column="instruction"; or a list of strings.
        limit: take the first so many prompts.
        column: where the prompt is, if not in `prompt` or `messages`.

    Returns:
        Dataset with `prompt` and the source's other columns, where they stand in every row or are None elsewhere. Of a
        conversation (messages, or in rows hh-rlhf's and Nectar's text of turns) the last user message is the prompt,
        and what was said before it (system messages too) the column `previous_messages`. A list's strings are taken as
        they are.

    Raises:
        ValueError: broken JSONL line, empty prompt, duplicate id, missing column, or a conversation of which something
            would be lost; names the line or row and the remedy.

    >>> load_prompts(["Why is the sky blue?", "Name three rivers."]).num_rows
    2
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if isinstance(source, str | Path):
        path = bundled(f"prompts/{source}.jsonl") if str(source) in SPLITS else Path(source).expanduser()
        if not path.exists():
            raise ValueError(f"no such file: {path}; bundled prompts are {' and '.join(map(repr, SPLITS))}")
        rows, where = read_rows(path), path.name
    else:
        rows, where = rows_of(source), type(source).__name__
    prompts = [_one_prompt(entry, column, f"{where}, row {row}") for row, entry in enumerate(islice(rows, limit))]
    if not prompts:
        raise ValueError(f"{where} holds no prompts")
    _check_ids(prompts, where)
    try:
        return as_dataset(prompts)
    except ValueError as error:
        raise ValueError(f"{where}, {error}") from None


def _one_prompt(entry: Any, column: str | None, where: str) -> dict[str, Any]:
    typed = not isinstance(entry, Mapping)
    if typed:
        entry = {"prompt": entry}
    wanted = repr(column) if column else "'prompt' (nor 'messages')"
    column = column or ("prompt" if "prompt" in entry else "messages")
    if column not in entry:
        raise ValueError(f"{where}: no column {wanted}; there are {', '.join(entry)}. Name it with column=...")
    columns = prompt_columns(entry[column] if typed else turns(entry[column]), where)
    if not columns["prompt"].strip():
        raise ValueError(f"{where}: the prompt is empty; drop the row")
    others = {k: v for k, v in entry.items() if k != column}
    if column != "prompt" and "prompt" in others:
        raise ValueError(f"{where}: there is a column 'prompt' beside {column!r}; rename or remove one of them")
    if PREVIOUS in columns and others.get(PREVIOUS):
        raise ValueError(f"{where}: there is a column {PREVIOUS!r} beside the messages; rename or remove one of them")
    return {**others, **columns}


def _check_ids(prompts: list[dict[str, Any]], where: str) -> None:
    first: dict[Any, int] = {}
    for row, entry in enumerate(prompts):
        name = entry.get("id")
        if not isinstance(name, Hashable):
            raise ValueError(f"{where}, row {row}: id is {name!r:.60}, expected a text or a number")
        if name is not None and first.setdefault(name, row) != row:
            raise ValueError(f"{where}: id {name!r:.60} stands in rows {first[name]} and {row}")
