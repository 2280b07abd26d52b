"""Rows of a file of any kind that people keep data in: JSON, JSON lines (also gzipped), CSV, TSV, Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

TABLES = {".csv": ",", ".tsv": "\t"}
KINDS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
LARGE = re.compile(r"[1-9]\d{18}")  # is in the text of every integer that does not fit into 64 bits


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a file, as plain values. Cells of .csv and .tsv are texts, also where they look like numbers.

    Args:
        path: a .json, .jsonl, .csv, .tsv or .parquet file (the first four also .gz).

    Returns:
        one dict per row, with the column names as keys; an empty cell is None.

    Raises:
        ValueError: no such file, another kind of file, not UTF-8, or a line that is not a JSON object (named).
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ValueError(f"no such file: {path}")
    suffixes = path.name.lower().split(".")[1:]
    suffix = "." + (suffixes[-2] if suffixes[-1:] == ["gz"] and len(suffixes) > 1 else suffixes[-1] if suffixes else "")
    if path.is_file() and suffix == ".parquet":
        return _read_parquet(path)
    if path.is_dir() or suffix not in KINDS:
        load = f"datasets.load_dataset({str(path)!r}, split='train')"
        raise ValueError(f"{path} is no {', '.join(KINDS)} file; pass on its rows, e.g. {load}")
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if suffixes[-1] == "gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is no whole gzip file ({error}); fetch it again") from None
    text = decode(content, path.name)
    return _parse_table(text, TABLES[suffix], path.name) if suffix in TABLES else parse_json_rows(text, path.name)


def decode(content: bytes, name: str) -> str:
    """UTF-8 text, with or without a byte order mark; ValueError names the first byte that is not."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 ({error.reason} at byte {error.start}); re-save it as UTF-8") from None


def parse_json_rows(text: str, name: str) -> list[dict[str, Any]]:
    """Rows of a JSON list of objects, or of one JSON object a line.

    Raises:
        ValueError: broken JSON, something other than an object, or an integer of more than 64 bits; names the line (or
            row) and the remedy.

    >>> parse_json_rows('{"a": 1}\\n\\n{"a": 2}', "file")
    [{'a': 1}, {'a': 2}]
    """
    if text.lstrip().startswith("["):
        rows = _loaded(text, name)
        if bad := [row for row, value in enumerate(rows) if not isinstance(value, dict)]:
            raise ValueError(f"{name}, row {bad[0]} is a {type(rows[bad[0]]).__name__}, expected an object")
        return _without_large_integers(rows, text, name)
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows.append(_loaded(line, f"{name}, line {number}"))
            if not isinstance(rows[-1], dict):
                kind = type(rows[-1]).__name__
                raise ValueError(f'{name}, line {number} is a {kind}, expected an object such as {{"prompt": "..."}}')
    return _without_large_integers(rows, text, name)


def _without_large_integers(rows: list[dict[str, Any]], text: str, name: str) -> list[dict[str, Any]]:
    """The rows; ValueError names row and column of an integer that no table can hold."""
    for row, entry in enumerate(rows if LARGE.search(text) else ()):
        for column, value in entry.items():
            parts = [value]
            while parts:
                part = parts.pop()
                parts += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
                if type(part) is int and not -(2**63) <= part < 2**63:
                    raise ValueError(
                        f"{name}, row {row} does not fit into a table: {column}: an integer of too many digits for 64 "
                        "bits; write an id in quotes, a score as 1.5e30"
                    )
    return rows


def _loaded(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_int=lambda digits: int(digits[:21]))  # still too large: refused afterwards
    except (ValueError, RecursionError) as error:  # RecursionError: too deeply nested
        broken = isinstance(error, json.JSONDecodeError)
        line = f"line {error.lineno}, " if broken and "\n" in error.doc.strip() else ""  # a row of JSONL is one line
        reason = f"{error.msg.removesuffix(' at')} at {line}column {error.colno}" if broken else str(error)
        raise ValueError(f"{where} is not valid JSON ({reason}); mend or delete that line") from None


def _parse_table(text: str, separator: str, name: str) -> list[dict[str, Any]]:
    """Rows of a table with a header; every row must have as many cells."""
    csv.field_size_limit(2**31 - 1)  # a cell may hold a long answer
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = next(reader, [])
        rows = []
        for cells in reader:
            if len(cells) not in (0, len(header)):
                kind = "commas" if separator == "," else "tabs"
                raise ValueError(
                    f"{name}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)}; put quotes "
                    f"around texts with {kind}, or mend the line"
                )
            rows += [dict(zip(header, (cell or None for cell in cells), strict=True))] if cells else []
    except csv.Error as error:
        raise ValueError(f"{name}, line {reader.line_num}: {error}; mend that line") from None
    if len(set(header)) < len(header):
        raise ValueError(f"{name}: a column name stands twice in {', '.join(header)}; rename one of them")
    return rows


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet

    try:
        return pyarrow.parquet.read_table(path).to_pylist()
    except (ValueError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as Parquet ({error}); re-save it") from None
