"""Before and after training on the same prompts: intervals of the differences, and prompt by prompt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from padlab.show.arrays import array, same_length
from padlab.show.html.safe import num
from padlab.show.plots.intervals import draw_point, interval_arrays
from padlab.show.plots.labels import metric_label, metric_named
from padlab.show.plots.style import BETTER, DATA, NEUTRAL, WORSE, Figure, axes, finish, house_style, legend_above


def _verdict(low: float, high: float, better: int) -> tuple[str, str, str]:
    """Colour, marker and word for the interval of a difference."""
    if low <= 0 <= high:
        return NEUTRAL, "o", "not clear"
    if better == 0:
        return NEUTRAL, "o", "changed"
    return (BETTER, "^", "better") if (low > 0) == (better > 0) else (WORSE, "v", "worse")


def _interval_text(estimate: float, low: float, high: float) -> str:
    """An estimate with its interval, with so many decimals that an end that is not 0 is not shown as 0.

    >>> _interval_text(-0.033, -0.076, -0.0004)
    '−0.0330 [−0.0760, −0.0004]'
    """
    digits = 3
    while digits < 6 and any(end != 0 and round(end, digits) == 0 for end in (low, high)):
        digits += 1
    return f"{num(estimate, digits)} [{num(low, digits)}, {num(high, digits)}]"


def _draw_difference(ax: Axes, name: str, before: float, after: float, interval: np.ndarray) -> str:
    """One metric: the interval of its difference against 0 on its own scale; returns the verdict."""
    estimate, low, high = (float(value) for value in interval)
    colour, marker, verdict = _verdict(low, high, metric_named(name).better)
    limit = 1.25 * (max(abs(low), abs(high)) or 0.01)  # 0.01 where nothing changed at all
    ax.axvline(0, color="black", linewidth=1.2)
    draw_point(ax, estimate, low, high, color=colour, marker=marker, markersize=13)
    ax.set(xlim=(-limit, limit), ylim=(-1, 1), yticks=[])
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    ax.tick_params(labelsize="small")
    left, right = ({"transform": ax.transAxes, "ha": side, "va": "center"} for side in ("right", "left"))
    ax.text(-0.02, 0.68, metric_label(name), **left)
    ax.text(-0.02, 0.22, f"{num(before, 3)} → {num(after, 3)}", color=NEUTRAL, **left)
    ax.text(1.02, 0.68, verdict, color=colour, fontweight="bold", **right)
    ax.text(1.02, 0.22, _interval_text(estimate, low, high), color=NEUTRAL, **right)
    return verdict


@house_style()
def plot_before_after(
    before: Any, after: Any, names: Sequence[str], estimate: Any, low: Any, high: Any, title: str | None = None
) -> Figure:
    """Paired differences after minus before with their 95 % intervals, one row and one scale per metric.

    Args:
        before, after: M means, in each metric's unit.
        names: M metric names; known ones (jsd, kendall_tau, ...) are shown with their unit, and better or worse is
            said by their direction (`padlab.rankings.metrics.METRICS`); of others, more is better.
        estimate, low, high: M mean paired differences and the ends of their 95 % intervals.
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: different lengths, a value that is not finite, an estimate outside its interval.

    >>> plot_before_after([0.2], [0.3], ["kendall_tau"], [0.1], [0.08], [0.12])
    <Figure: Differences after minus before: Kendall tau 0.100 [0.080, 0.120], better. Better after training: 1 of 1; \
worse: 0 (the 95 % interval excludes 0).>
    """
    before, after = array(before, "before", ndim=1), array(after, "after", ndim=1)
    intervals = np.stack(interval_arrays(estimate, low, high, ndim=1), axis=1)
    count = same_length(names=names, before=before, after=after, intervals=intervals)
    figure = Figure(9.6, 1.2 + 0.95 * count)
    figure.get_layout_engine().set(hspace=0.08)
    rows = figure.subplots(count, 1, squeeze=False)[:, 0]
    verdicts = [_draw_difference(*row) for row in zip(rows, names, before, after, intervals, strict=True)]
    rows[-1].set_xlabel("difference after − before, mean over prompts, 95 % interval")
    better, worse = verdicts.count("better"), verdicts.count("worse")
    finding = f"better after training: {better} of {count}; worse: {worse} (the 95 % interval excludes 0)"
    facts = [
        f"{metric_named(name).title} {_interval_text(*interval)}, {verdict}"
        for name, interval, verdict in zip(names, intervals, verdicts, strict=True)
    ]
    return finish(figure, title, finding, f"Differences after minus before: {'; '.join(facts)}")


@house_style()
def plot_paired(before: Any, after: Any, metric: str = "kendall_tau", title: str | None = None) -> Figure:
    """Each prompt as a point: the metric before (across) and after (up); on the diagonal nothing changed.

    Args:
        before, after: one value per prompt, in the metric's unit; prompts with NaN (undefined there) are left out and
            counted.
        metric: the metric's name; known ones are shown with their unit and their better side; of others, more is
            better.
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: different lengths, an infinite value, or nothing but NaN.

    >>> plot_paired([0.2, 0.3], [0.1, 0.4])
    <Figure: Kendall tau before and after. Better on 1 of 2 prompts, worse on 1; mean 0.250 before, 0.250 after.>
    """
    pair = [array(values, name, 1, finite=False) for values, name in ((before, "before"), (after, "after"))]
    total = same_length(before=pair[0], after=pair[1])
    defined = ~np.isnan(pair).any(axis=0)
    before, after = (array(values[defined], f"{metric} without NaN", ndim=1) for values in pair)
    count, better = len(before), metric_named(metric).better
    figure, ax = axes(7.6, 6.4, grid="both")
    ends = np.array([min(before.min(), after.min()), max(before.max(), after.max())])
    ends = ends + np.array([-1, 1]) * max(0.06 * np.ptp(ends), 1e-3)
    if better:
        _shade_better_side(ax, ends, better)
    ax.plot(ends, ends, color=NEUTRAL, linestyle="--", linewidth=1.2)
    draw_points(ax, before, after, ends, "prompt")
    left_out = f"\n{total - count} of {total} prompts are left out: not defined" if total > count else ""
    ax.set(xlabel=f"before: {metric_label(metric)}{left_out}", ylabel=f"after: {metric_label(metric)}")
    change = (after - before) * (better or 1)
    up, down = ("better", "worse") if better else ("more", "less")
    finding = f"{up} on {(change > 0).sum()} of {count} prompts, {down} on {(change < 0).sum()}; "
    finding += f"mean {num(before.mean(), 3)} before, {num(after.mean(), 3)} after"
    return finish(figure, title, finding, f"{metric_named(metric).title} before and after")


def _shade_better_side(ax: Axes, ends: np.ndarray, better: int) -> None:
    """The side of the diagonal on which a prompt is better after than before."""
    limit = ends[1] if better > 0 else ends[0]
    ax.fill_between(ends, ends, limit, color=BETTER, alpha=0.15, linewidth=0, label="better after")


def draw_points(ax: Axes, x: np.ndarray, y: np.ndarray, ends: Sequence[float] | np.ndarray, name: str) -> None:
    """Points (equal ones as one larger point) and their mean, on two axes of one scale with the limits `ends`."""
    points, repeats = np.unique(np.stack([x, y]), axis=1, return_counts=True)
    name = f"{name} (larger: several equal)" if repeats.max() > 1 else name
    ax.scatter(*points, s=50 * repeats, color=DATA, edgecolor="white", linewidth=0.6, alpha=0.85, label=name)
    ax.plot(x.mean(), y.mean(), "P", color="black", markersize=14, markeredgecolor="white", label="mean")
    ax.set(xlim=ends, ylim=ends, aspect="equal")
    legend_above(ax)
