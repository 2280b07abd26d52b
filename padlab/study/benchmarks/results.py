"""Benchmark figures with their intervals, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from padlab.rankings.uncertainty import RESAMPLES, Interval


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
    """Figures of one or several benchmarks; printing them shows a table. Two tables are added with `+`."""

    rows: tuple[Result, ...]

    def __add__(self, other: Results) -> Results:
        return Results(self.rows + other.rows)

    def __str__(self) -> str:
        head = ("benchmark", "model", "measure", "estimate [95 % interval]", "questions", "")
        rows = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
        return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    __repr__ = __str__


def ratio_interval(sums: Sequence[float] | np.ndarray, counts: Sequence[float] | np.ndarray, seed: int = 0) -> Interval:
    """sum of sums / sum of counts, with a 95 % percentile bootstrap interval over the questions.

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
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    ratios = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(float(sums.sum() / counts.sum()), float(low), float(high), len(sums))


def _cells(row: Result) -> tuple[str, ...]:
    i = row.interval
    numbers = f"{i.estimate:.2f} [{i.low:.2f}, {i.high:.2f}]" if i.count else "-"
    return row.benchmark, row.model, row.measure, numbers, str(i.count), row.note
