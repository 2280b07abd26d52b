"""What the student writes, round by round, with the teacher's own level: a panel per world."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from padlab.show.arrays import array
from padlab.show.html.safe import num
from padlab.show.plots.intervals import draw_line, interval_arrays
from padlab.show.plots.labels import label, metric_label, metric_named
from padlab.show.plots.style import STUDENT, TEACHER, Figure, axes, finish, house_style

PANELS = 3  # worlds beside each other, at most


@house_style()
def plot_rounds(
    students: Mapping[str, Any],
    teachers: Mapping[str, float] | None = None,
    metric: str = "quality",
    title: str | None = None,
) -> Figure:
    """A measure of the student's fresh samples after 0, 1, ... rounds, with its 95 % band; all panels on one scale.

    Args:
        students: world (up to 3 of them) -> per round (estimate, low, high, ...), the untrained student's first, where
            low = estimate = high if it is the same for all trainings.
        teachers: world -> the same measure of the teacher's own samples, a dashed line; None: no lines.
        metric: the measure's name; known ones are shown with their unit.
        title: replaces the title that says what to see: each world's level before, after one round, after the last.

    Raises:
        ValueError: no world or more than 3, fewer than two rounds, or numbers that are not in order.

    >>> plot_rounds({"toy": [(0.5, 0.5, 0.5), (0.7, 0.6, 0.8)]}, {"toy": 0.54})
    <Figure: True quality by round: toy 0.50, 0.70 [0.60, 0.80], teacher 0.54. Toy 0.50 before, 0.70 after round 1.>
    """
    if not 1 <= len(students) <= PANELS:
        raise ValueError(f"plot_rounds: {len(students)} worlds; give one to {PANELS}")
    teachers, curves = teachers or {}, {name: _curve(name, rows) for name, rows in students.items()}
    figure, panels = axes(2.4 + 3.4 * len(curves), 4.6, columns=len(curves))
    panels, facts, findings = np.ravel(panels), [], []
    for ax, (name, (estimate, low, high)) in zip(panels, curves.items(), strict=True):
        draw_line(ax, np.arange(len(estimate)), estimate, low, high, color=STUDENT, marker="o", linewidth=3)
        if name in teachers:
            ax.axhline(teachers[name], linestyle="--", linewidth=2, color=TEACHER)
        ax.set_title(label(name, 30), loc="left", fontsize="medium")
        ax.set(xlabel="round (0: before training)", ylabel="")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        facts.append(_fact(name, estimate, low, high, teachers.get(name)))
        findings.append(_finding(name, estimate))
    ends = [*(end for curve in curves.values() for end in (curve[1].min(), curve[2].max())), *teachers.values()]
    margin = 0.06 * (max(ends) - min(ends) or 1.0)
    for ax in panels:
        ax.set_ylim(min(ends) - margin, max(ends) + margin)
    panels[0].set_ylabel(metric_label(metric))
    _legend(panels[-1], bool(teachers))
    measured = metric_named(metric).title
    return finish(
        figure, title, "; ".join(findings), f"{measured[:1].upper()}{measured[1:]} by round: {'; '.join(facts)}"
    )


def _curve(name: str, rows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimates and interval ends of one world, from round 0 on."""
    triples = array([list(row)[:3] for row in rows], f"students[{name!r}]", ndim=2)
    if len(triples) < 2:
        raise ValueError(
            f"plot_rounds: students[{name!r}] has {len(triples)} row(s); give round 0 and at least round 1"
        )
    return interval_arrays(*triples.T, ndim=1)


def _fact(name: str, estimate: np.ndarray, low: np.ndarray, high: np.ndarray, teacher: float | None) -> str:
    told = [
        num(mean) if a == b else f"{num(mean)} [{num(a)}, {num(b)}]"
        for mean, a, b in zip(estimate, low, high, strict=True)
    ]
    return ", ".join([f"{label(name)} {told[0]}", *told[1:], *([] if teacher is None else [f"teacher {num(teacher)}"])])


def _finding(name: str, estimate: np.ndarray) -> str:
    """The levels before, after the first round, and after the last."""
    shown = [(estimate[k], k) for k in sorted({1, len(estimate) - 1})]
    return f"{label(name)} {num(estimate[0])} before, " + ", ".join(f"{num(x)} after round {k}" for x, k in shown)


def _legend(ax: Any, with_teacher: bool) -> None:
    ax.plot([], [], color=STUDENT, marker="o", linewidth=3, label="student")
    if with_teacher:
        ax.plot([], [], color=TEACHER, linestyle="--", linewidth=2, label="teacher")
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.08), ncols=2, borderaxespad=0.1)
