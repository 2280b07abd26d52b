"""`padlab grade FOLDER`: the exercises of submitted notebooks, checked again; a line per student, and a CSV file."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from itertools import groupby
from pathlib import Path

ABOUT = """Grade a folder of submitted notebooks: NAME.ipynb, NAME_04_losses.ipynb or NAME/04_losses.ipynb.

The check of every exercise is run again, on new random inputs; saved outputs are not read, and a deleted exercise
counts as missing. Of a notebook only this is run: the exercise's function, with the imports, functions, classes and
constants that it uses, from its own cell and the cells above it (except for `hypothesis`, constants that padlab or a
function of the notebook computes are left out). Each notebook is run in a fresh process with a time limit, in an empty
folder.

This is a fresh process, not a sandbox: a student's code can read and change files and use the network as the user who
runs the command. Grade in an account or container that may be lost.
"""
AFTER = """exit status: 0 when all notebooks were gone through, whatever the marks; 1 if there is no folder or no
notebook in it; 130 if interrupted (what was graded is in the CSV file)."""


def add_parser(commands) -> None:
    """The grammar of `padlab grade`."""
    parser = commands.add_parser(
        "grade",
        help="for lecturers: check the exercises of submitted notebooks",
        description=ABOUT,
        epilog=AFTER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="the submitted notebooks")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="written anew (default: FOLDER/grades.csv)")
    limit = "for one exercise (default: 60; for `hypothesis` ten times as long)"
    parser.add_argument("--timeout", type=_positive, default=60, metavar="SECONDS", help=limit)
    parser.add_argument("--seed", type=int, help="of the random inputs (default: other ones for every exercise)")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1, help="notebooks at a time (default: 1)")
    parser.set_defaults(run_command=grade)


def grade(options: argparse.Namespace) -> int:
    """Grade, print a line per student as soon as it is complete, and keep the CSV file up to date."""
    if os.name != "posix":
        raise RuntimeError("it needs Linux or macOS; on Windows, use it in WSL")
    from padlab.grading.grade import grade_all
    from padlab.grading.report import student_line, summary, write_csv
    from padlab.grading.submissions import find_submissions

    submissions = find_submissions(options.folder)
    path, graded = options.csv or options.folder / "grades.csv", []
    width = max(len(submission.student) for submission in submissions)
    try:
        write_csv(path, graded)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}; choose another place with --csv FILE") from None
    with closing(grade_all(submissions, timeout=options.timeout, seed=options.seed, jobs=options.jobs)) as results:
        try:
            for student, own in groupby(submissions, lambda submission: submission.student):
                for _ in own:
                    graded += next(results)
                    write_csv(path, graded)
                print(student_line([row for row in graded if row.student == student], width), flush=True)
        except KeyboardInterrupt:
            print(f"\ninterrupted; what was graded is in {path}", file=sys.stderr)
            return 130
    print(f"\n{summary(graded)}; every exercise with its hint: {path}")
    return 0


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be above 0")
    return value
