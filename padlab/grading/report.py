"""Grades as lines of text, one per student, and as a CSV file, one row per exercise."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from padlab.grading.grade import Grade

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins so for a formula
UNRECOGNISED = {"value": "wrong value", "shape": "wrong shape", "type": "no numbers", "call": "no function"}


def student_line(grades: Sequence[Grade], width: int = 0) -> str:
    """One student's marks: in all, and per notebook with what is wrong.

    Args:
        grades: of the student, by notebook.
        width: characters for the name.

    >>> student_line([Grade("ann", "04_losses", "vpd", "passed"), Grade("ann", "04_losses", "jsd", "hint", "bits")])
    'ann  1/2  04: 1/2 (jsd: bits)'
    """
    parts = [f"{grades[0].student:{width}}  {_marks(grades)}"]
    for notebook, group in groupby(grades, lambda grade: grade.notebook):
        found = list(group)
        if found[0].state != "no exercise" or notebook.endswith(".ipynb"):  # padlab's own, such as the quickstart, pass
            wrong = _wrong(found)
            parts.append(f"{_short(notebook)}: {_marks(found)}" + (f" ({wrong})" if wrong else ""))
    return "  ".join(parts)


def summary(grades: Sequence[Grade]) -> str:
    """How many students, notebooks and exercises, and how many of these passed.

    >>> summary([Grade("ann", "04_losses", "vpd", "passed"), Grade("bob", "04_losses", "vpd", "missing")])
    '2 students, 2 notebooks, 1 of 2 exercises passed'
    """
    students = len({grade.student for grade in grades})
    notebooks = len({(grade.student, grade.notebook) for grade in grades})
    passed, total = _marks(grades).split("/")
    counts = f"{students} student{'s' * (students != 1)}, {notebooks} notebook{'s' * (notebooks != 1)}"
    return f"{counts}, {passed} of {total} exercises passed"


def write_csv(path: Path, grades: Iterable[Grade]) -> None:
    """One row per exercise, in UTF-8 with a byte order mark (for spreadsheets); written beside, then moved there.

    Text that would begin a formula in a spreadsheet is preceded by an apostrophe.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(Grade._fields)
    for grade in grades:
        *texts, seconds = grade
        writer.writerow([*(f"'{text}" if text.startswith(FORMULA) else text for text in texts), f"{seconds:.1f}"])
    scratch = path.with_name(f".{path.name}.part")
    scratch.write_text(table.getvalue(), encoding="utf-8-sig", newline="")
    scratch.replace(path)


def _marks(grades: Sequence[Grade]) -> str:
    return f"{sum(g.state == 'passed' for g in grades)}/{sum(bool(g.exercise) for g in grades)}"


def _wrong(grades: Sequence[Grade]) -> str:
    """Of a notebook, what is wrong with it or with each exercise; the mistake where one was recognised."""
    if grades[0].state in ("unreadable", "no exercise"):
        return grades[0].message.rstrip(".")
    what = {
        grade.exercise: UNRECOGNISED.get(grade.mistake, grade.mistake) if grade.state == "hint" else grade.state
        for grade in grades
        if grade.state != "passed"
    }
    if len(what) == len(grades) > 1 and len(set(what.values())) == 1:
        return f"all: {next(iter(what.values()))}"
    return ", ".join(f"{exercise}: {mistake}" for exercise, mistake in what.items())


def _short(notebook: str) -> str:
    """ "04" for "04_losses"; other names whole."""
    number = notebook.partition("_")[0]
    return number if number.isdigit() and not notebook.endswith(".ipynb") else notebook
