"""Students of one experiment side by side: a panel per measure, a row per student, the level before as a line."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from padlab.show.arrays import array
from padlab.show.html.safe import num
from padlab.show.plots.intervals import draw_point, interval_arrays
from padlab.show.plots.labels import label, metric_named
from padlab.show.plots.style import NEUTRAL, STUDENT, TEACHER, Figure, finish, house_style

COLUMNS = 3  # panels beside each other


@house_style()
def plot_students(
    before: Mapping[str, float],
    differences: Mapping[str, Mapping[str, Any]],
    measures: Sequence[str] | None = None,
    title: str | None = None,
    bars: str = "95 % interval of the paired difference from before",
) -> Figure:
    """Students against the one before training: a panel per measure, a row per student.

    A point is the level before plus the mean paired difference, its bar the 95 % interval of that difference: a bar
    that does not reach the dashed line differs from before. A student named "teacher" has the teacher's colour; one
    whose name begins with "control" is grey, and the title does not count it.

    Args:
        before: measure -> mean before training.
        differences: student -> measure -> (estimate, low, high, ...), e.g. `StudentComparison.differences()`.
        measures: which, in order; None: all of `before`. A student may lack some; NaN (too few prompts for an interval)
            is left out.
        title: replaces the title that says what to see: of the first measure, how many trained students are better.

        bars: what the bars are, for the line under the panels.

    Raises:
        ValueError: no student, no measure, or numbers that are not in order.

    >>> plot_students({"right": 0.3}, {"ppd": {"right": (0.3, 0.2, 0.4)}})
    <Figure: Right responses: before 0.30, ppd 0.60 [0.50, 0.70]. Right responses (0.30 before): 1 of 1 trained \
students better, 0 worse.>
    """
    names = ["before", *differences]
    own = {m: _finite(differences, m) for m in (before if measures is None else measures)}
    measures = [measure for measure, triples in own.items() if triples]
    if not measures:
        raise ValueError("plot_students: give at least one student with a measure that has an interval")
    lines, across = -(-len(measures) // COLUMNS), min(COLUMNS, len(measures))
    figure = Figure(2.6 + 3.5 * across, 1.1 + lines * (1.1 + 0.36 * len(names)))
    panels = list(figure.subplots(lines, across, squeeze=False, sharey=True).flat)
    facts, verdicts = [], []
    for ax, measure in zip(panels, measures, strict=False):
        level = float(array([before[measure]], f"before of {measure}")[0])
        facts.append(_draw_measure(ax, measure, level, own[measure], names))
        verdicts.append(_verdicts(measure, level, own[measure]))
    for ax in panels[len(measures) :]:
        ax.set_visible(False)
    figure.supxlabel(f"bars: {label(bars, 80)}", fontsize="small")
    return finish(figure, title, verdicts[0], "; ".join(facts))


def _finite(differences: Mapping[str, Mapping[str, Any]], measure: str) -> dict[str, Any]:
    """Student -> (estimate, low, high) of one measure, where these are numbers."""
    triples = {name: values[measure][:3] for name, values in differences.items() if measure in values}
    return {name: triple for name, triple in triples.items() if np.isfinite(triple).all()}


def _draw_measure(ax: Axes, measure: str, level: float, own: Mapping[str, Any], names: Sequence[str]) -> str:
    """One panel; what it shows, as text."""
    title, unit, better = metric_named(measure)
    title, known = title[:1].upper() + title[1:], list(own)
    triples = np.array([own[name] for name in known], float).reshape(-1, 3)
    mean, low, high = (level + values for values in interval_arrays(*triples.T, ndim=1))
    ax.axvline(level, color=NEUTRAL, linestyle="--", linewidth=1.2)
    ax.plot([level], [0], "o", color=STUDENT, markersize=8)
    for name, *ends in zip(known, mean, low, high, strict=True):
        colour = TEACHER if name == "teacher" else NEUTRAL if name.startswith("control") else STUDENT
        draw_point(ax, *ends, at=names.index(name), color=colour, marker="o", markersize=8)
    ax.set_title(title, fontsize="small")
    ax.set(ylim=(len(names) - 0.5, -0.5), ylabel="")
    side = {1: "", 0: "", -1: " (less is better)"}[better]
    ax.set_xlabel(unit.replace("-1", "−1") + side, fontsize="small")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize="small")
    ax.set_yticks(np.arange(len(names)), [label(name, 24) for name in names])
    told = [f"{n} {num(m)} [{num(a)}, {num(b)}]" for n, m, a, b in zip(known, mean, low, high, strict=True)]
    return f"{title}: {', '.join([f'before {num(level)}', *told])}"


def _verdicts(measure: str, level: float, own: Mapping[str, Any]) -> str:
    """How many trained students are better or worse than before, by intervals that exclude 0."""
    known = metric_named(measure)
    title = f"{known.title[:1].upper()}{known.title[1:]} ({num(level)} before)"
    ends = [values[1:] for name, values in own.items() if name != "teacher" and not name.startswith("control")]
    up, down = sum(low > 0 for low, _ in ends), sum(high < 0 for _, high in ends)
    if not known.better:
        return f"{title}: {up + down} of {len(ends)} trained students differ"
    better, worse = (up, down) if known.better > 0 else (down, up)
    return f"{title}: {better} of {len(ends)} trained students better, {worse} worse"
