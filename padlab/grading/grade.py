"""Grade submissions: run the check of every exercise again, on new random inputs."""

from __future__ import annotations

import ast
import inspect
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from padlab import checks
from padlab.checks.verdict import Verdict
from padlab.grading.process import StudentFunction, StudentProcess
from padlab.grading.submissions import Submission
from padlab.grading.used_code import Cell, find_check, used_code

TRAINING = {"hypothesis"}  # exercises whose function trains models
LONGER = 10  # times the time limit of the others is theirs


class Grade(NamedTuple):
    """One exercise of a submission.

    Args:
        state: "passed", "hint", "not attempted", "error", "timeout", "missing" (no cell checks it), "unreadable" (the
            notebook), or "no exercise" (a notebook without any; `exercise` is then "").
        mistake: of a hint its key, see `padlab.checks.verdict.Verdict`; of an error the exception's class, if known.
        message: what the student would see, or what is wrong.
        seconds: time that the check took.
    """

    student: str
    notebook: str
    exercise: str
    state: str
    mistake: str = ""
    message: str = ""
    seconds: float = 0.0


class Result(NamedTuple):
    """The last four entries of a `Grade`."""

    state: str
    mistake: str
    message: str
    seconds: float = 0.0


def grade_all(
    submissions: Sequence[Submission], *, timeout: float = 60.0, seed: int | None = None, jobs: int = 1
) -> Iterator[list[Grade]]:
    """The grades of each submission, in order; progress goes to stderr. Closing the iterator kills what still runs.

    Args:
        submissions: from `find_submissions`.
        timeout: seconds for an exercise.
        seed: of the random inputs; None draws other ones for every exercise.
        jobs: submissions graded at a time.

    Raises:
        RuntimeError: no process can be started.
    """
    interrupted = threading.Event()

    def grade(number: int, submission: Submission) -> list[Grade]:
        print(f"[{number} of {len(submissions)}] {submission.student} {submission.notebook}", file=sys.stderr)
        return grade_submission(submission, timeout, seed, interrupted)

    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(grade, range(1, len(submissions) + 1), submissions)
    finally:
        interrupted.set()
        pool.shutdown(cancel_futures=True)


def grade_submission(
    submission: Submission, timeout: float, seed: int | None, interrupted: threading.Event
) -> list[Grade]:
    """All exercises of a submission, in one process (another one after an exercise that had to be stopped)."""
    names = submission.exercises or ("",)
    if submission.problem:
        results = [Result("unreadable", "", f"The notebook {submission.problem}.")] * len(names)
    elif not submission.exercises:
        results = [Result("no exercise", "", "No cell calls a check, padlab.checks.NAME(...).")]
    else:
        limits = [timeout * (LONGER if name in TRAINING else 1) for name in names]
        process = StudentProcess(60 + sum(limits), interrupted)
        try:
            results = [
                grade_exercise(submission.cells, name, process, limit, seed)
                for name, limit in zip(names, limits, strict=True)
            ]
        finally:
            process.stop()
    return [
        Grade(submission.student, submission.notebook, name, *result)
        for name, result in zip(names, results, strict=True)
    ]


def grade_exercise(
    cells: Sequence[Cell], name: str, process: StudentProcess, seconds: float, seed: int | None
) -> Result:
    """Find the exercise's cell, run its function in the process, and check the answers here."""
    found = find_check(cells, name)
    if found is None:
        return Result("missing", "", f"No code cell calls padlab.checks.{name}(...).")
    at, call = found
    if call is None:
        return Result("error", "SyntaxError", f"The cell has a syntax error, {cells[at].error}.")
    try:
        expression, settings = _arguments(name, call, cells[: at + 1])
        code = used_code(cells, at, expression, anything=name in TRAINING)
    except (TypeError, ValueError, RecursionError) as error:
        return Result("error", type(error).__name__, f"In the call of padlab.checks.{name}: {error}.")
    process.start()
    began = time.monotonic()
    function = StudentFunction(process, seconds)
    try:
        callable_ = function.define(code, ast.unparse(expression))
        verdict = _check(name, function if callable_ else "no function", settings, seed)
    except Exception as error:  # of the definition: a check never raises
        verdict = Verdict(name, "hint", f"The cell raised {function.raised}: {error}.", "error")
    return _result(verdict, function, code.left_out, time.monotonic() - began)


def _arguments(name: str, call: ast.Call, cells: Sequence[Cell]) -> tuple[ast.expr, dict[str, Any]]:
    """Of the call of a check: the expression that is the function, and the other arguments' values, by name."""
    given = inspect.signature(getattr(checks, name)).bind(*call.args, **{k.arg: k.value for k in call.keywords})
    (_, expression), *others = given.arguments.items()
    return expression, {key: _literal(key, node, cells) for key, node in others if key != "seed"}


def _literal(key: str, node: ast.expr, cells: Sequence[Cell]) -> Any:
    """The value of a text or number, or of the name that it was last given in these cells."""
    if isinstance(node, ast.Name):
        assigned = [s for cell in cells for s in cell.tree.body if isinstance(s, ast.Assign)]
        node = next((s.value for s in reversed(assigned) if ast.unparse(s.targets[0]) == node.id), node)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{key} is no text or number that is written in the notebook") from None


def _check(name: str, function: Any, settings: dict[str, Any], seed: int | None) -> Verdict:
    check = getattr(checks, name)
    if "seed" in inspect.signature(check).parameters:
        settings = {**settings, "seed": seed}  # never the one that the student wrote
    return check(function, **settings)


def _result(verdict: Verdict, function: StudentFunction, left_out: dict[str, str], seconds: float) -> Result:
    """The verdict, unless the process was stopped; an exception is a state of its own, with what may explain it."""
    if function.stopped is not None:
        return Result(function.stopped.state, "", str(function.stopped), seconds)
    if verdict.mistake != "error":
        return Result(verdict.state, verdict.mistake, verdict.message, seconds)
    message = " ".join([verdict.message, *(f"In the notebook, {line}." for line in function.failed)])
    for name, why in left_out.items():
        if f"name '{name}' is not defined" in message:
            message += f" `{name}` is left out when exercises are graded: {why}."
    return Result("error", function.raised, message, seconds)
