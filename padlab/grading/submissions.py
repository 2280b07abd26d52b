"""Submitted notebooks: whose they are, which exercises they should hold, and their code cells."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from padlab import checks
from padlab.demo import notebook_folder
from padlab.grading.used_code import Cell, checked_names, parse
from padlab.show.html.safe import visible

LARGEST = 64 << 20  # bytes of a notebook
EXERCISES = [name for name in checks.__all__ if inspect.isfunction(getattr(checks, name))]


@dataclass(frozen=True)
class Submission:
    """A submitted notebook.

    Args:
        student: the folder in which it lies, else the beginning of the file's name.
        notebook: the name of padlab's notebook that it is a copy of, such as "04_losses"; else the file's name.
        exercises: names, in the order of padlab's notebook.
        cells: the code cells.
        problem: why it cannot be read, or "".
    """

    student: str
    notebook: str
    exercises: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    problem: str = ""


def find_submissions(folder: Path) -> list[Submission]:
    """Read all notebooks in a folder; those in hidden folders (.ipynb_checkpoints) are left out.

    Args:
        folder: holds notebooks (alice.ipynb, alice_04_losses.ipynb) and folders of students (alice/04_losses.ipynb).

    Returns:
        the submissions, by student and notebook.

    Raises:
        ValueError: no such folder, or no notebook in it.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}")
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*.ipynb"))]
    paths = [p for p in paths if (folder / p).is_file() and not any(part.startswith(".") for part in p.parts)]
    if not paths:
        raise ValueError(f"no notebook in {folder}; it should hold NAME.ipynb, NAME_04_losses.ipynb or NAME/*.ipynb")
    course = course_exercises()
    read = [_read(folder, path, course) for path in paths]
    copies = Counter((submission.student, submission.notebook) for submission in read)
    for k, path in enumerate(paths):  # of several copies of one notebook, each has its own file's name
        if copies[read[k].student, read[k].notebook] > 1:
            read[k] = replace(read[k], notebook=visible(path.name))
    return sorted(read, key=lambda submission: (submission.student, submission.notebook))


def course_exercises() -> dict[str, tuple[str, ...]]:
    """Name of each of padlab's own notebooks -> names of its exercises.

    >>> course_exercises()["04_losses"]
    ('vpd', 'jsd', 'batch_loss')
    """
    return {path.stem: _exercises(read_cells(path)) for path in sorted(notebook_folder().glob("*.ipynb"))}


def read_cells(path: Path) -> tuple[Cell, ...]:
    """The code cells of a notebook; outputs are not looked at.

    Raises:
        ValueError: the file holds no notebook of format 4 with a code cell.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"is larger than {LARGEST >> 20} MB; save it without outputs")
    try:
        notebook = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise ValueError("is not JSON, so it is no notebook" if path.stat().st_size else "is an empty file") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("nbformat"), int):
        raise ValueError("is no notebook: it has no nbformat")
    if notebook["nbformat"] != 4:
        raise ValueError(f"has notebook format {notebook['nbformat']}; open and save it in JupyterLab to get format 4")
    cells = notebook.get("cells")
    sources = [_source(cell) for cell in cells if _is_code(cell)] if isinstance(cells, list) else []
    if not sources:
        raise ValueError("has no code cell")
    return tuple(parse(source) for source in sources)


def _is_code(cell: Any) -> bool:
    return isinstance(cell, dict) and cell.get("cell_type") == "code"


def _source(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _exercises(cells: tuple[Cell, ...]) -> tuple[str, ...]:
    names = dict.fromkeys(name for cell in cells for name in checked_names(cell))
    return tuple(name for name in names if name in EXERCISES)


def _read(folder: Path, path: Path, course: dict[str, tuple[str, ...]]) -> Submission:
    original = next((name for name in reversed(course) if name in path.stem), None)
    cells, problem = (), ""
    try:
        cells = read_cells(folder / path)
    except (ValueError, OSError) as error:
        problem = getattr(error, "strerror", None) or str(error)
    found = _exercises(cells)
    if original is None and found:
        original = max(course, key=lambda name: len({*course[name]} & {*found}))
    exercises = tuple(dict.fromkeys((*course.get(original, ()), *found)))
    return Submission(_student(folder, path, original), original or visible(path.name), exercises, cells, problem)


def _student(folder: Path, path: Path, original: str | None) -> str:
    """The first folder, else the file's name without the notebook's, else the name of the folder itself."""
    if len(path.parts) > 1:
        return visible(path.parts[0])
    rest = path.stem.replace(original, "") if original else path.stem
    return visible(rest.strip(" _-.") or folder.resolve().name)
