"""`padlab lab`: the course's notebooks in a folder of the user's, and JupyterLab on it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from padlab.demo import notebook_folder
from padlab.safe_files import as_folder, write_json

RECORD = ".padlab-notebooks.json"  # name -> hash of the notebook as it was copied


def copy_notebooks(folder: str | Path) -> dict[str, str]:
    """Copy padlab's notebooks into a folder; one that was changed there stays as it is.

    Args:
        folder: made if need be. In the folder of padlab's own notebooks nothing is copied.

    Returns:
        name -> "copied" (new, or a newer version of an unchanged one), "there" (the same already), "kept" (changed).
    """
    folder, source = as_folder(folder), notebook_folder()
    paths = sorted(source.glob("*.ipynb"))
    if folder == source.resolve():
        return dict.fromkeys((path.name for path in paths), "there")
    folder.mkdir(parents=True, exist_ok=True)
    record = _read_record(folder / RECORD)
    done = {path.name: _copy(path, folder / path.name, record.get(path.name)) for path in paths}
    copied = {path.name: _hash(path) for path in paths if done[path.name] != "kept"}
    write_json(folder / RECORD, {**record, **copied})
    return done


def open_lab(folder: str | Path) -> int:
    """Copy the notebooks, say what was done, and run JupyterLab; its exit status."""
    done = copy_notebooks(folder)
    for name, what in done.items():
        if what == "kept":
            print(f"kept {name}: it was changed here; delete or rename it to get padlab's version")
    print(f"{len(done)} notebooks in {as_folder(folder)}")
    command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={as_folder(folder)}"]
    return subprocess.run(command, check=False).returncode


def _copy(source: Path, target: Path, recorded: str | None) -> str:
    if target.exists() and _hash(target) == _hash(source):
        return "there"
    if target.exists() and _hash(target) != recorded:
        return "kept"
    shutil.copyfile(source, target)
    return "copied"


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_record(path: Path) -> dict[str, str]:
    """What was copied before; nothing if the record is missing or damaged (then changed notebooks are kept)."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
