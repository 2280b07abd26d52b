"""Long work in pieces: finished shards are kept, and rows that any run may share are kept in a cache.

run/sample/00000.jsonl   a finished shard; its last line has the checksum, and the fingerprint of the settings
cache/3f/9a....jsonl     one row of a stage in the same form, named by a hash of everything that decides it

Processes that do the same work in one folder share it: a shard is computed by the one that holds its lock.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from padlab.progress import progress
from padlab.runs import record_stage
from padlab.safe_files import Busy, as_folder, as_jsonl, lock, remove_scratch, write_text

Rows = list[dict[str, Any]]
CACHE_FORMAT = 2  # raise it when what is cached, or how it is computed, changes


def in_shards(
    items: Sequence[Any],
    work: Callable[[Sequence[Any]], Rows],
    *,
    stage: str,
    settings: Mapping[str, Any],
    folder: str | Path | None = None,
    shard_size: int = 16,
) -> Rows:
    """Do work piece by piece, with progress; with a folder, finished pieces are kept and not computed again.

    Processes that do the same work in the same folder share it; one that dies leaves its shard to the others.

    Args:
        items: what to work on, one entry per row of the result.
        work: gets a piece of `items`, returns one dict per item (plain JSON values).
        stage: short name, a sub-folder of `folder`.
        settings: everything that decides the result; resuming under other settings is refused.
        folder: run folder, or None to keep nothing.
        shard_size: items per piece; part of the settings, since batches decide the last bits of a float.

    Raises:
        ValueError: the folder holds this stage under other settings (the difference is named), or a damaged shard.
    """
    starts = range(0, len(items), shard_size)
    if folder is None:
        return [row for start in progress(starts, stage) for row in work(items[start : start + shard_size])]
    made_under = record_stage(folder, stage, {**settings, "shard_size": shard_size, "items": len(items)})
    place = as_folder(folder) / stage
    pieces = {place / f"{start // shard_size:05d}.jsonl": items[start : start + shard_size] for start in starts}
    rows = {path: read_shard(path, len(piece), made_under) for path, piece in pieces.items() if path.exists()}
    busy = []
    for path in progress(list(pieces), stage):
        try:
            rows[path] = rows.get(path) or _finished_shard(path, pieces[path], work, made_under, wait=0)
        except Busy:
            busy.append(path)
    if waiting := sum(not path.exists() for path in busy):
        print(f"{stage}: waiting for {waiting} shards that other processes compute", file=sys.stderr)
    for path in busy:  # shards that another process began: it ends them, or dies and leaves them to this one
        rows[path] = _finished_shard(path, pieces[path], work, made_under, wait=-1)
    return [row for path in pieces for row in rows[path]]


def _finished_shard(path: Path, piece: Sequence[Any], work: Callable, made_under: str, wait: float) -> Rows:
    """A shard's rows: computed and written while holding its lock, unless another process has done so."""
    own_lock = f".{path.stem}.lock"
    if not path.exists():
        with lock(path.parent, own_lock, wait):
            try:
                if not path.exists():
                    write_text(path, as_shard(work(piece), path, made_under), locked=True)
            finally:
                with suppress(OSError):
                    (path.parent / own_lock).unlink()
    return read_shard(path, len(piece), made_under)


def as_shard(rows: Rows, path: Path, made_under: str) -> str:
    """Rows as JSON lines, and a last line: their number, checksum, place, and the fingerprint of the settings."""
    body = as_jsonl(rows)
    end = {"rows": len(rows), "crc32": zlib.crc32(body.encode()), "place": path.stem, "settings": made_under}
    return body + as_jsonl([end])


def read_shard(path: Path, count: int, made_under: str) -> Rows:
    """The rows of a file written with `as_shard`.

    Raises:
        ValueError: not all of it is there, it has changed, or it was made under other settings.
    """
    try:
        body, _, last = path.read_bytes().removesuffix(b"\n").rpartition(b"\n")
        end, body = json.loads(last), body + b"\n"
        if not isinstance(end, dict) or end.get("crc32") != zlib.crc32(body) or end.get("rows") != count:
            raise ValueError(f"its last line does not fit to {count} rows")
        if end.get("place") != path.stem:
            raise ValueError(f"it is a copy of {end.get('place')}")
        rows = [json.loads(line) for line in body.decode().split("\n") if line]
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete that file and run again: only it is redone") from None
    if end.get("settings") != made_under:
        raise ValueError(f"{path} was made under other settings; delete {path.parent} to start that stage again")
    return rows


def cached_rows(
    work: Callable[[Sequence[int]], Rows], key: Callable[[int], Any], folder: str | Path | None
) -> Callable[[Sequence[int]], Rows]:
    """`work` with an on-disk cache of its rows: what is in the folder is read, the rest is computed and written there.

    A row computed in another batch may differ in the last bits of a float; a damaged file is computed again.

    Args:
        work: gets row numbers, returns one dict of plain values per row.
        key: plain values that decide a row's result: the model's description, settings, texts or ids.
        folder: may be shared by any tables and models; None returns `work` unchanged.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> cached_rows(lambda piece: [{"square": k * k} for k in piece], str, folder)([3])
    [{'square': 9}]
    >>> cached_rows(lambda piece: 1 / 0, str, folder)([3])
    [{'square': 9}]
    """
    if folder is None:
        return work
    place = as_folder(folder)
    remove_scratch(place, "??/.*.tmp")

    def path_of(row: int) -> Path:
        name = hashlib.sha256(json.dumps([CACHE_FORMAT, key(row)], sort_keys=True).encode()).hexdigest()
        return place / name[:2] / f"{name[2:]}.jsonl"

    def work_or_read(piece: Sequence[int]) -> Rows:
        rows = {row: _read_cached(path_of(row)) for row in piece}
        missing = [row for row in piece if rows[row] is None]
        for row, computed in zip(missing, work(missing) if missing else [], strict=True):
            write_text(path_of(row), as_shard([computed], path_of(row), ""))
            rows[row] = computed
        return [rows[row] for row in piece]

    return work_or_read


def _read_cached(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        return read_shard(path, 1, "")[0]
    return None
