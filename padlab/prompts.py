"""Prompts in: the bundled splits, a JSONL file, any `datasets` data set, or a list of strings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from padlab.bundled import bundled

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "heldout")


def load_prompts(source: Any = "train", limit: int | None = None, column: str | None = None) -> Dataset:
    """A table with one prompt per row, ready for `sample_responses`.

    Args:
        source: "train" or "heldout" (written for padlab, mixed over categories in file order); a .jsonl path; a
            `datasets.Dataset`, e.g. `datasets.load_dataset("openbmb/UltraFeedback", split="train")` with
            column="instruction"; or a list of strings.
        limit: take the first so many prompts.
        column: where the prompt is, if not in `prompt` or `messages`.

    Returns:
        Dataset with `prompt` and, where the source has them, `id` and `category`.

    Raises:
        ValueError: broken JSONL line, empty prompt, duplicate id, missing column, or a conversation of several turns;
            names the line or row and the remedy.

    >>> load_prompts(["Why is the sky blue?", "Name three rivers."]).num_rows
    2
    """
    from datasets import Dataset

    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    if isinstance(source, str | Path):
        path = bundled(f"prompts/{source}.jsonl") if str(source) in SPLITS else Path(source).expanduser()
        rows: Any = read_jsonl(path)
        where = path.name
    else:
        rows, where = _as_rows(source), type(source).__name__
    rows = [_one_prompt(entry, column, f"{where}, row {row}") for row, entry in enumerate(_first(rows, limit))]
    if not rows:
        raise ValueError(f"{where} holds no prompts")
    _check_ids(rows, where)
    keep = [k for k in ("id", "category", "prompt") if all(k in r for r in rows)]
    return Dataset.from_list([{k: r[k] for k in keep} for r in rows])


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; ValueError names the broken line."""
    path = Path(path)
    if not path.exists():
        raise ValueError(f"no such file: {path}; bundled prompts are 'train' and 'heldout'")
    rows = []
    with open(path, encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append(_parse(line, f"{path.name}, line {number}"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path.name} is not UTF-8 ({error.reason} after {len(rows)} rows); re-save it") from None
    return rows


def _parse(line: str, where: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is not valid JSON ({error.msg} at column {error.colno}); mend or delete that line"
        ) from None
    if not isinstance(entry, dict):
        raise ValueError(f'{where} is a {type(entry).__name__}, expected an object such as {{"prompt": "..."}}')
    return entry


def _as_rows(source: Any) -> Any:
    from datasets import Dataset, DatasetDict, IterableDataset

    if isinstance(source, DatasetDict):
        raise ValueError(f"this is a DatasetDict; choose one split: {', '.join(map(str, source))}")
    if isinstance(source, Dataset | IterableDataset):
        return source
    if isinstance(source, Sequence):
        return [entry if isinstance(entry, Mapping) else {"prompt": entry} for entry in source]
    raise ValueError(f"cannot read prompts from a {type(source).__name__}; give a list, a data set or a .jsonl path")


def _first(rows: Any, limit: int | None) -> Any:
    for number, entry in enumerate(rows):
        if limit is not None and number >= limit:
            return
        yield entry


def _one_prompt(entry: Mapping[str, Any], column: str | None, where: str) -> dict[str, Any]:
    column = column or ("prompt" if "prompt" in entry else "messages")
    if column not in entry:
        raise ValueError(f"{where}: no column {column!r}; there are {', '.join(entry)}. Name it with column=...")
    value = entry[column]
    text = value if isinstance(value, str) else _from_messages(value, where)
    if not text.strip():
        raise ValueError(f"{where}: the prompt is empty; drop the row")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{where}: lone surrogate at character {error.start} is not valid Unicode; "
            "clean it with text.encode('utf-8', 'replace').decode()"
        ) from None
    return {**{k: entry[k] for k in ("id", "category") if k in entry}, "prompt": text}


def _from_messages(value: Any, where: str) -> str:
    """The text of a conversation's system and first user message; answers after it are ignored."""
    if not isinstance(value, Sequence) or not all(isinstance(m, Mapping) and m.get("role") for m in value):
        raise ValueError(f"{where}: a prompt is a string or a list of messages, not {type(value).__name__}")
    users = [m for m in value if m["role"] == "user"]
    if len(users) != 1:
        raise ValueError(f"{where}: {len(users)} user turns; padlab's prompts have one. Flatten or drop the row")
    texts = [m["content"] for m in value if m["role"] in ("system", "user")]
    if not all(isinstance(t, str) for t in texts):
        raise ValueError(f"{where}: message content must be text (no images, no tool calls)")
    return "\n\n".join(texts)


def _check_ids(rows: list[dict[str, Any]], where: str) -> None:
    seen: dict[Any, int] = {}
    for number, entry in enumerate(rows):
        if entry.get("id") is not None and seen.setdefault(entry["id"], number) != number:
            raise ValueError(f"{where}: id {entry['id']!r} stands in rows {seen[entry['id']]} and {number}")
