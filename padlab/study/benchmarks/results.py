"""Benchmark figures with their intervals, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from padlab.data_files import read_rows
from padlab.rankings.intervals import RESAMPLES, Interval, share_interval


@dataclass(frozen=True)
class Result:
    """One figure of a benchmark.

    Args:
        benchmark, model, measure: what was measured of which model.
        interval: estimate and 95 % interval over questions, in the measure's unit.
        note: whatever a reader must know beside it.
    """

    benchmark: str
    model: str
    measure: str
    interval: Interval
    note: str = ""


@dataclass(frozen=True)
class Results:
    """Figures of one or several benchmarks; printing them shows a table. Two tables are added with `+`.

    Args:
        rows: one per benchmark, model and measure.
    """

    rows: tuple[Result, ...]

    def __add__(self, other: Results) -> Results:
        return Results(self.rows + other.rows)

    def __str__(self) -> str:
        head = ("benchmark", "model", "measure", "estimate [95 % interval]", "questions", "")
        rows = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    __repr__ = __str__


def judged_rows(path: str | Path, columns: Mapping[str, type | tuple[type, ...]], what: str) -> list[dict[str, Any]]:
    """The rows of a file of judgements, each with these columns of these types.

    Args:
        path: a file as `padlab.data_files.read_rows` takes it.
        columns: name -> type of its values, or several types.
        what: what the file should be, for errors.

    Raises:
        ValueError: no such file, no rows, or a row in which a column is missing or of another type (row named).
    """
    rows = read_rows(path)
    if not rows or not columns.keys() <= rows[0].keys():
        raise ValueError(f"{path} is no file of {what}: it needs {', '.join(columns)}")
    for number, row in enumerate(rows):
        for name, kinds in columns.items():
            if name not in row or not isinstance(row[name], kinds):
                shown = repr(row.get(name, "not there"))[:60]
                raise ValueError(f"{path}, row {number}: {name} is {shown}; mend or delete that row")
    return rows


def percent_interval(right: Sequence[bool]) -> Interval:
    """Share of true values in percent, with the Wilson interval (95 %).

    Args:
        right: one value per question, at least one.

    >>> percent_interval([False, False, False]).high > 50
    True
    """
    share = share_interval(right)
    return Interval(*(100 * value for value in share[:3]), share.count)


def ratio_interval(sums: Sequence[float] | np.ndarray, counts: Sequence[float] | np.ndarray, seed: int = 0) -> Interval:
    """sum of sums / sum of counts, with a 95 % percentile bootstrap interval over the questions; NaN for one question.

    Args:
        sums, counts: per question, e.g. points won and games played.
        seed: of the 4,000 resamples.

    Raises:
        ValueError: no questions.

    >>> ratio_interval([1.0, 1.0], [2.0, 2.0])
    Interval(estimate=0.5, low=0.5, high=0.5, count=2)
    """
    sums, counts = np.asarray(sums, float), np.asarray(counts, float)
    if not len(sums):
        raise ValueError("there are no judged questions")
    if len(sums) == 1:
        return Interval(float(sums[0] / counts[0]), np.nan, np.nan, 1)
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    ratios = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), len(sums))


def _cells(row: Result) -> tuple[str, ...]:
    i = row.interval
    numbers = f"{i.estimate:.2f} [{i.low:.2f}, {i.high:.2f}]" if i.count else "-"
    return row.benchmark, row.model, row.measure, numbers, str(i.count), row.note
