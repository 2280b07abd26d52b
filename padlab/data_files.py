"""Rows of a file of any kind that people keep data in: JSON, JSON lines (also gzipped), CSV, TSV, Parquet."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

TABLES = {".csv": ",", ".tsv": "\t"}
KINDS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a .json, .jsonl, .csv, .tsv or .parquet file (the first four also .gz), as plain values.

    Cells of .csv and .tsv are texts, also where they look like numbers; an empty one is None.

    Raises:
        ValueError: no such file, another kind of file, not UTF-8, or a line that is not a JSON object (named).
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ValueError(f"no such file: {path}")
    suffix = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    if path.is_file() and (suffix in TABLES or suffix == ".parquet"):
        return _read_table(path, suffix)
    if path.is_dir() or suffix not in (".json", ".jsonl"):
        load = f"datasets.load_dataset({str(path)!r}, split='train')"
        raise ValueError(f"{path} is no {', '.join(KINDS)} file; pass on its rows, e.g. {load}")
    content = path.read_bytes()
    try:
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is no whole gzip file ({error}); fetch it again") from None
    return parse_json_rows(decode(content, path.name), path.name)


def decode(content: bytes, name: str) -> str:
    """UTF-8 text, with or without a byte order mark; ValueError names the first byte that is not."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 ({error.reason} at byte {error.start}); re-save it") from None


def parse_json_rows(text: str, name: str) -> list[dict[str, Any]]:
    """Rows of a JSON list of objects, or of one JSON object a line.

    Raises:
        ValueError: broken JSON, or something other than an object; names the line (or row) and the remedy.

    >>> parse_json_rows('{"a": 1}\\n\\n{"a": 2}', "file")
    [{'a': 1}, {'a': 2}]
    """
    if text.lstrip().startswith("["):
        rows = _loaded(text, name)
        if bad := [row for row, value in enumerate(rows) if not isinstance(value, dict)]:
            raise ValueError(f"{name}, row {bad[0]} is a {type(rows[bad[0]]).__name__}, expected an object")
        return rows
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            rows.append(_loaded(line, f"{name}, line {number}"))
            if not isinstance(rows[-1], dict):
                kind = type(rows[-1]).__name__
                raise ValueError(f'{name}, line {number} is a {kind}, expected an object such as {{"prompt": "..."}}')
    return rows


def _loaded(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, or too deeply nested
        broken = isinstance(error, json.JSONDecodeError)
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}" if broken else str(error)
        raise ValueError(f"{where} is not valid JSON ({reason}); mend or delete that line") from None


def _read_table(path: Path, suffix: str) -> list[dict[str, Any]]:
    import pandas

    try:
        if suffix == ".parquet":
            frame = pandas.read_parquet(path)
        else:
            frame = pandas.read_csv(path, sep=TABLES[suffix], dtype=str, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:
        raise ValueError(f"{path.name} cannot be read as {suffix[1:]} ({error}); re-save it") from None
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    """NumPy's scalars and arrays as Python's."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
