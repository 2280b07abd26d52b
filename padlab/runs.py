"""A run folder: manifest, atomic shards, resume; and a cache of rows that any run may share.

run/manifest.json        what was asked of each stage: models, seed, settings, versions
run/sample/00000.jsonl   finished pieces; written to a temporary sibling, then moved into place
run/candidates.jsonl     the table as it stands after the last finished stage
cache/3f/9a....json      one row of a stage, named by a hash of everything that decides it
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

import padlab
from padlab.progress import progress

if TYPE_CHECKING:
    from datasets import Dataset

Rows = list[dict[str, Any]]
CACHE_FORMAT = 1  # raise it when what is cached, or how it is computed, changes


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

    Args:
        items: what to work on, one entry per row of the result.
        work: gets a piece of `items`, returns one dict per item (plain JSON values).
        stage: short name, a sub-folder of `folder`.
        settings: everything that decides the result; resuming under other settings is refused.
        folder: run folder, or None to keep nothing.
        shard_size: items per piece; part of the settings, since batches decide the last bits of a float.

    Raises:
        ValueError: the folder holds this stage under other settings (the difference is named), or a damaged shard.
        RuntimeError: another process works in the folder.
    """
    starts = range(0, len(items), shard_size)
    if folder is None:
        return [row for start in progress(starts, stage) for row in work(items[start : start + shard_size])]
    rows: Rows = []
    recorded = {**settings, "shard_size": shard_size, "items": len(items)}
    with stage_folder(folder, stage, recorded) as shards:
        for start in progress(starts, stage):
            shard, piece = shards / f"{start // shard_size:05d}.jsonl", items[start : start + shard_size]
            if not shard.exists():
                write_jsonl(shard, work(piece))
            rows += _read_shard(shard, len(piece))
    return rows


def cached_rows(
    work: Callable[[Sequence[int]], Rows], key: Callable[[int], Any], folder: str | Path | None
) -> Callable[[Sequence[int]], Rows]:
    """`work` with an on-disk cache of its rows: what is in the folder is read, the rest is computed and written there.

    A row computed in another batch may differ in the last bits of a float; an unreadable file is computed again.

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

    def path_of(row: int) -> Path:
        name = hashlib.sha256(json.dumps([CACHE_FORMAT, key(row)], sort_keys=True).encode()).hexdigest()
        return as_folder(folder) / name[:2] / f"{name[2:]}.json"

    def work_or_read(piece: Sequence[int]) -> Rows:
        rows = {row: _read_cached(path_of(row)) for row in piece}
        missing = [row for row in piece if rows[row] is None]
        for row, computed in zip(missing, work(missing) if missing else [], strict=True):
            write_json(path_of(row), computed)
            rows[row] = computed
        return [rows[row] for row in piece]

    return work_or_read


def as_folder(folder: str | Path) -> Path:
    """One spelling of a path: absolute, with the home folder in the place of "~"."""
    return Path(folder).expanduser().resolve()


def fingerprint(*parts: Any) -> str:
    """Sixteen hex digits of plain values, for manifests.

    >>> fingerprint("a", [1, 2]) == fingerprint("a", [1, 2])
    True
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _read_cached(path: Path) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        row = json.loads(path.read_text(encoding="utf-8"))
        return row if isinstance(row, dict) else None
    return None


@contextmanager
def stage_folder(folder: str | Path | None, stage: str, settings: Mapping[str, Any]) -> Iterator[Path]:
    """`folder`/`stage` for a stage's own files, locked, settings recorded; without `folder` a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="padlab-") as scratch:
            yield Path(scratch)
        return
    folder = as_folder(folder)
    with lock(folder):
        record_stage(folder, stage, settings)
        yield folder / stage


def record_stage(folder: Path, stage: str, settings: Mapping[str, Any]) -> None:
    """Write a stage's settings into the manifest.

    Raises:
        ValueError: the stage was begun (its sub-folder is there) under other settings; says which.
    """
    manifest = read_manifest(folder)
    now, before = json.loads(json.dumps(settings, default=str)), manifest["stages"].get(stage)
    begun = (folder / stage).exists() or stage == "models"
    if before is None and any((folder / stage).glob("*")):
        raise ValueError(f"the manifest does not say under which settings {folder / stage} was made; delete it")
    if begun and before not in (None, now):
        lines = [f"{folder} holds stage '{stage}' under other settings:"]
        for key in sorted({*before, *now}):
            old, new = before.get(key, "(not there)"), now.get(key, "(not there)")
            if old != new:
                lines.append(f"  {key}: {old!r} in the folder, {new!r} now")
        begun_here = f", another folder, or delete {folder / stage} to start that stage again."
        lines.append("Use the same settings" + (begun_here if (folder / stage).exists() else " or another folder."))
        raise ValueError("\n".join(lines))
    manifest["stages"][stage] = now
    write_json(folder / "manifest.json", manifest)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a run folder; a fresh one where there is none yet."""
    path = as_folder(folder) / "manifest.json"
    if path.exists():
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}); restore it, or start again in another folder") from None
    return {"format": 1, "created": time.strftime("%Y-%m-%dT%H:%M:%S"), "versions": versions(), "stages": {}}


def versions() -> dict[str, str]:
    """Versions of Python, padlab, and the packages that decide its numbers."""
    packages = ("torch", "transformers", "peft", "tokenizers", "datasets")
    own = {"python": platform.python_version(), "padlab": padlab.__version__}
    return {**own, **{name: version(name) for name in packages}}


def save_table(table: Dataset, path: str | Path) -> None:
    """A table as JSONL, atomically; the same table always gives the same bytes."""
    write_jsonl(as_folder(path), table)


def load_table(path: str | Path) -> Dataset:
    """A table written by `save_table`."""
    from datasets import Dataset

    path = as_folder(path)
    if not path.exists():
        raise ValueError(f"{path} is not there: run the stage that makes it first (padlab sample, then padlab score)")
    return Dataset.from_list(_read_shard(path))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows as JSON lines, atomically."""
    _write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_json(path: Path, value: Any) -> None:
    """A value as indented JSON, atomically."""
    _write(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep a second process out of a run folder while one works in it (released when the process dies)."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock", timeout=0).acquire()
    except Timeout:
        raise RuntimeError(f"another process is working in {folder}; wait for it or use another folder") from None
    except OSError as error:
        raise OSError(f"cannot write in {folder}: {error.strerror}; use a folder you can write to") from error
    with held:
        yield


def _read_shard(path: Path, count: int | None = None) -> Rows:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        if count is not None and len(rows) != count:
            raise ValueError(f"{len(rows)} rows instead of {count}")
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete that file and run again: only it is redone") from None
    return rows


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(scratch, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error.strerror}. What was finished before is still there.") from error
