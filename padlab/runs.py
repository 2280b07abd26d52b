"""A run folder: its manifest, its stages and its table.

run/manifest.json        what was asked of each stage: models, seed, settings, versions
run/sample/              the shards of a stage (`padlab.shards`), or its checkpoints
run/candidates.jsonl     the table as it stands after the last finished stage; its checksum is in the manifest

Manifest and table are read and written under one lock, so that several processes may work in one folder.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import padlab
from padlab.candidates import add_columns
from padlab.safe_files import (
    Busy,
    as_folder,
    as_jsonl,
    fingerprint,
    lock,
    without_secrets,
    write_json,
    write_jsonl,
    write_text,
)

if TYPE_CHECKING:
    from datasets import Dataset

FORMAT = 2  # of the run folder
WAIT = 60  # seconds to wait while another process reads or writes the manifest
MANIFEST, TABLE = "manifest.json", "candidates.jsonl"
KEY = ("prompt", "responses", "response_ids")
AGAIN = "and give the same commands again, from `padlab sample` or `padlab import` on: what is whole is not done again"


@contextmanager
def stage_folder(folder: str | Path | None, stage: str, settings: Mapping[str, Any], wait: float = 0) -> Iterator[Path]:
    """`folder`/`stage` for a stage's own files, locked, settings recorded; without `folder` a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="padlab-") as scratch:
            yield Path(scratch)
        return
    with lock(as_folder(folder) / _checked(stage), wait=wait):
        record_stage(folder, stage, settings)
        yield as_folder(folder) / stage


def made_under(settings: Mapping[str, Any]) -> str:
    """The fingerprint of settings as a manifest records them: kept beside every finished piece."""
    return fingerprint(_plain(settings))


def record_stage(folder: str | Path, stage: str, settings: Mapping[str, Any]) -> str:
    """Write a stage's settings into the manifest, those that hold a secret left out; returns their fingerprint.

    Raises:
        ValueError: the stage was begun under other settings (says which): something is finished in its sub-folder, or
            another process computes a shard there. The models count as begun from the first record on.
    """
    folder, stage, now = as_folder(folder), _checked(stage), _plain(settings)
    with lock(folder, wait=WAIT):
        manifest = read_manifest(folder)
        before = manifest["stages"].get(stage)
        if before not in (None, now) and (stage == "models" or _begun(folder / stage)):
            raise ValueError(_difference(folder, stage, before, now))
        changed = dict(manifest["versions"].items() - versions().items()) if before else {}
        if was := [f"{name} {number}" for name, number in sorted(changed.items())]:
            warnings.warn(f"{folder} was begun with {', '.join(was)}: last digits may differ from now on", stacklevel=3)
        manifest["stages"][stage] = now
        _write_manifest(folder, manifest)
    return made_under(settings)


def _begun(place: Path) -> bool:
    """Whether something is finished in a stage's folder, or another process is at work on a shard."""
    for path in place.glob(".*.lock"):
        try:
            with lock(place, path.name):
                continue
        except Busy:
            return True
    return any(place.glob("[!.]*"))


def _difference(folder: Path, stage: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    lines = [f"{folder} holds stage '{stage}' under other settings:"]
    for key in sorted({*before, *now}):
        old, new = before.get(key, "(not there)"), now.get(key, "(not there)")
        if old != new:
            lines.append(f"  {key}: {old!r} in the folder, {new!r} now")
    begun_here = f", another folder, or delete {folder / stage} to start that stage again."
    lines.append("Use the same settings" + (begun_here if (folder / stage).exists() else " or another folder."))
    return "\n".join(lines)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(without_secrets(settings), default=str))


def _checked(stage: str) -> str:
    """A stage's name, if it is that of a sub-folder and of nothing else."""
    if stage.startswith(".") or set(stage) & set("/\\\0") or not stage:
        raise ValueError(
            f"{stage!r} cannot be the name of a folder; use a name without / and \\, not beginning with a dot"
        )
    return stage


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a run folder; a fresh one where there is none yet.

    Raises:
        ValueError: it is damaged, or was written by another version of padlab.
    """
    path = as_folder(folder) / MANIFEST
    if not path.exists():
        created = time.strftime("%Y-%m-%dT%H:%M:%S")
        return {"format": FORMAT, "created": created, "versions": versions(), "stages": {}, "tables": {}}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(manifest, dict) or "format" not in manifest:
            raise ValueError("it is no manifest")
        if manifest["format"] == FORMAT and manifest.pop("checksum", None) != fingerprint(manifest):
            raise ValueError("it has changed since it was written")
    except (ValueError, RecursionError, IsADirectoryError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete that file {AGAIN}") from None
    if manifest["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {manifest['format']!r}, and this version of padlab reads {FORMAT}; use the version "
            "that wrote it, or another folder"
        )
    return manifest


def _write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    write_json(folder / MANIFEST, {**manifest, "checksum": fingerprint(manifest)}, locked=True)


def versions() -> dict[str, str]:
    """Versions of Python, padlab, and the packages that decide its numbers."""
    packages = ("torch", "transformers", "peft", "tokenizers", "datasets")
    own = {"python": platform.python_version(), "padlab": padlab.__version__}
    return {**own, **{name: version(name) for name in packages}}


def save_candidates(run: str | Path, table: Dataset, *, replace: bool = False) -> Path:
    """Write a run folder's table; columns that it has already for the same responses stay.

    The checksum is written first: at any time the manifest knows the table that is there.

    Args:
        run: the folder.
        table: candidates.
        replace: the table may hold other responses than the one that is there.

    Returns:
        the table's path.

    Raises:
        ValueError: it holds other responses, and `replace` is False.
    """
    path = as_folder(run) / TABLE
    with lock(path.parent, wait=WAIT):
        if has_candidates(run):
            saved = load_candidates(run)
            if same_columns(saved, table, [name for name in KEY if name in table.column_names]):
                table = _with_new_columns(saved, table)
            elif not replace:
                raise ValueError(f"the responses in {path} have changed meanwhile; give the same command again")
        text = as_jsonl(table)
        manifest = read_manifest(run)
        there = [known for known in manifest["tables"].get(TABLE, []) if known == _checksum(path)]
        manifest["tables"][TABLE] = [*there, hashlib.sha256(text.encode()).hexdigest()]
        _write_manifest(path.parent, manifest)
        write_text(path, text, locked=True)
    return path


def same_columns(first: Dataset, second: Dataset, names: Sequence[str]) -> bool:
    """Whether two tables hold the same values in these columns."""
    return all(name in first.column_names and first[name][:] == second[name][:] for name in names)


def _with_new_columns(saved: Dataset, table: Dataset) -> Dataset:
    """The saved table with those columns of the other one that are new or have changed."""
    changed = [name for name in table.column_names if not same_columns(saved, table, [name])]
    return add_columns(saved, {name: table[name][:] for name in changed})


def has_candidates(run: str | Path) -> bool:
    """Whether a run folder has a table that its manifest knows of."""
    return (as_folder(run) / TABLE).exists() and TABLE in read_manifest(run)["tables"]


def load_candidates(run: str | Path) -> Dataset:
    """A run folder's table.

    Raises:
        ValueError: there is none yet, or it is not as padlab wrote it.
    """
    path = as_folder(run) / TABLE
    if path.exists() and _checksum(path) not in read_manifest(run)["tables"].get(TABLE, []):
        raise ValueError(
            f"{path} is not as padlab wrote it: damaged, or changed by hand. Delete that file {AGAIN}. (Data of your "
            "own: `padlab import`, or padlab.distill)"
        )
    return load_table(path)


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def save_table(table: Dataset, path: str | Path, **options: Any) -> None:
    """A table as JSONL, atomically; the same table always gives the same bytes.

    Args:
        table: candidates, or any `datasets.Dataset` of plain values.
        path: the file, overwritten.
        options: as in `padlab.safe_files.write_text`.
    """
    write_jsonl(as_folder(path), table, **options)


def load_table(path: str | Path) -> Dataset:
    """A table written by `save_table`.

    Args:
        path: the file.

    Raises:
        ValueError: there is none, or a line is no JSON object (named).
    """
    from datasets import Dataset

    path = as_folder(path)
    if not path.is_file():
        raise ValueError(f"{path} is not there: run the stage that makes it first (padlab sample, then padlab score)")
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); make it again, or take it from a backup") from None
    return Dataset.from_list(rows)
