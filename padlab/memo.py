"""What a model said before, kept in a folder, so that the same cell run again asks nothing.

folder/3f/9a....json     one row's answer, named by a hash of everything that decides it; written atomically
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from padlab.runs import Rows, write_json

FORMAT = 1  # raise it when what is kept, or how it is computed, changes


def cached_rows(
    work: Callable[[Sequence[int]], Rows], key: Callable[[int], Any], folder: str | Path | None
) -> Callable[[Sequence[int]], Rows]:
    """`work` that reads the rows it finds in a folder, does the others and keeps them.

    A row computed in other company may differ in the last bits of a float; a file that cannot be read is done again.

    Args:
        work: gets row numbers, returns one dict of plain values per row.
        key: plain values that decide a row's result: the model's description, settings, texts or ids.
        folder: may be shared by any tables and models; None gives `work` back.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> cached_rows(lambda piece: [{"square": k * k} for k in piece], str, folder)([3])
    [{'square': 9}]
    >>> cached_rows(lambda piece: 1 / 0, str, folder)([3])
    [{'square': 9}]
    """
    if folder is None:
        return work

    def place(row: int) -> Path:
        name = hashlib.sha256(json.dumps([FORMAT, key(row)], sort_keys=True).encode()).hexdigest()
        return Path(folder) / name[:2] / f"{name[2:]}.json"

    def remembered(piece: Sequence[int]) -> Rows:
        places = {row: place(row) for row in piece}
        known = {row: found for row, path in places.items() if (found := _read(path)) is not None}
        missing = [row for row in piece if row not in known]
        for row, found in zip(missing, work(missing) if missing else [], strict=True):
            write_json(places[row], found)
            known[row] = found
        return [known[row] for row in piece]

    return remembered


def _read(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None
