"""Before and after training on the same prompts: intervals of the differences, and prompt by prompt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from padlab.show.plots.arrays import array, same_length
from padlab.show.plots.intervals import draw_point, interval_arrays
from padlab.show.plots.labels import metric_label, metric_named, num
from padlab.show.plots.style import (
    BETTER,
    DATA,
    NEUTRAL,
    WORSE,
    Figure,
    finish,
    house_style,
    legend_above,
    light_grid,
)


def _verdict(low: float, high: float, better: int) -> tuple[str, str, str]:
    """Colour, marker and word for the interval of a difference."""
    if low <= 0 <= high:
        return NEUTRAL, "o", "not clear"
    if better == 0:
        return NEUTRAL, "o", "changed"
    return (BETTER, "^", "better") if (low > 0) == (better > 0) else (WORSE, "v", "worse")


def _digits(low: float, high: float, large: bool = False) -> int:
    """Decimals for an interval: 3 (1 for large means), and more where an end that is not 0 would be shown as 0."""
    digits = 1 if large else 3
    while digits < 6 and any(end != 0 and round(end, digits) == 0 for end in (low, high)):
        digits += 1
    return digits


def _forest_row(axes: Axes, name: str, means: np.ndarray, interval: np.ndarray, better: int) -> str:
    """One metric: the interval of its difference against 0 on its own scale; returns the verdict."""
    estimate, low, high = (float(value) for value in interval)
    large = bool(np.abs(means).max() >= 10)
    digits = _digits(low, high, large)
    colour, marker, verdict = _verdict(low, high, better)
    limit = 1.25 * (max(abs(low), abs(high)) or 0.01)  # 0.01 where nothing changed at all
    axes.axvline(0, color="black", linewidth=1.2)
    draw_point(axes, estimate, low, high, color=colour, marker=marker, markersize=13)
    axes.set(xlim=(-limit, limit), ylim=(-1, 1), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.tick_params(labelsize="small")
    left, right = ({"transform": axes.transAxes, "ha": side, "va": "center"} for side in ("right", "left"))
    axes.text(-0.02, 0.68, metric_label(name), **left)
    axes.text(-0.02, 0.22, " → ".join(num(mean, 1 if large else 3) for mean in means), color=NEUTRAL, **left)
    signed = ("+" if estimate > 0 else "") + num(estimate, digits)
    axes.text(1.02, 0.68, f"{signed}  {verdict}", color=colour, fontweight="bold", **right)
    axes.text(1.02, 0.22, f"[{num(low, digits)}, {num(high, digits)}]", color=NEUTRAL, **right)
    return verdict


@house_style()
def plot_before_after(
    before: Any,
    after: Any,
    names: Sequence[str],
    estimate: Any,
    low: Any,
    high: Any,
    better: Sequence[int] | np.ndarray | None = None,
    title: str | None = None,
) -> Figure:
    """Paired differences after minus before with their 95 % intervals, one row and one scale per metric.

    Args:
        before, after: M means, in each metric's unit.
        names: M metric names; known ones (jsd, kendall_tau, ...) are shown with their unit.
        estimate, low, high: M mean paired differences and the ends of their 95 % intervals.
        better: per metric 1 if more is better, -1 if less is, 0 if neither; None: as known for the name, else 1.
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, a value that is not finite, low above high, an estimate outside its interval.

    >>> plot_before_after([0.2], [0.3], ["kendall_tau"], [0.1], [0.08], [0.12])
    <Figure: Differences after minus before with 95 % intervals. Kendall tau 0.100 [0.080, 0.120], better.>
    """
    means = np.stack([array(before, "before", ndim=1), array(after, "after", ndim=1)], axis=1)
    intervals = np.stack(interval_arrays(estimate, low, high), axis=1)
    names = [str(name) for name in names]
    directions = [metric_named(name).better for name in names] if better is None else [int(sign) for sign in better]
    count = same_length(names=names, means=means, intervals=intervals, better=directions)
    figure = Figure(9.6, 1.2 + 0.95 * count)
    figure.get_layout_engine().set(hspace=0.08)
    all_axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    rows = zip(all_axes, names, means, intervals, directions, strict=True)
    verdicts = [_forest_row(*row) for row in rows]
    all_axes[-1].set_xlabel("difference after − before, mean over prompts, 95 % interval")
    facts = [
        f"{metric_named(name).title} {_interval_text(*row)}, {verdict}"
        for name, row, verdict in zip(names, intervals, verdicts, strict=True)
    ]
    alt = f"Differences after minus before with 95 % intervals. {'; '.join(facts)}."
    return finish(figure, title, _count_verdicts(verdicts), alt)


def _interval_text(estimate: float, low: float, high: float) -> str:
    """An estimate with its interval.

    >>> _interval_text(-0.033, -0.076, -0.0004)
    '−0.0330 [−0.0760, −0.0004]'
    """
    digits = _digits(low, high)
    return f"{num(estimate, digits)} [{num(low, digits)}, {num(high, digits)}]"


def _count_verdicts(verdicts: Sequence[str]) -> str:
    """How many metrics are better and worse.

    >>> _count_verdicts(["better", "not clear"])
    '1 of 2 metrics is better after training (95 % interval excludes 0)'
    """
    better, worse, count = verdicts.count("better"), verdicts.count("worse"), len(verdicts)
    noun, verb = "metric" if count == 1 else "metrics", "is" if 1 in (better, count) else "are"
    worse_too = f", {worse} {'is' if worse == 1 else 'are'} worse" if worse else ""
    return f"{better} of {count} {noun} {verb} better after training{worse_too} (95 % interval excludes 0)"


@house_style()
def plot_paired(
    before: Any, after: Any, metric: str = "kendall_tau", better: int | None = None, title: str | None = None
) -> Figure:
    """Each prompt as a point: the metric before (across) and after (up); on the diagonal nothing changed.

    Args:
        before, after: one value per prompt, in the metric's unit; prompts with NaN (undefined there) are left out and
            counted.
        metric: the metric's name; known ones are shown with their unit.
        better: 1 if more is better, -1 if less is, 0 if neither; None: as known for the name, else 1.
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, an infinite value, or nothing but NaN.

    >>> plot_paired([0.2, 0.3], [0.1, 0.4]).alt_text
    'Kendall tau of 2 prompts before and after: better on 1, worse on 1, equal on 0. Mean 0.250 before, 0.250 after.'
    """
    pair = [array(values, name, 1, finite=False) for values, name in ((before, "before"), (after, "after"))]
    total = same_length(before=pair[0], after=pair[1])
    defined = ~np.isnan(pair).any(axis=0)
    before, after = (array(values[defined], f"{metric} without NaN", ndim=1) for values in pair)
    count, direction = len(before), metric_named(metric).better if better is None else better
    figure = Figure(7.6, 6.4)
    axes = figure.add_subplot()
    _draw_pairs(axes, before, after, direction)
    left_out = f"\n{total - count} of {total} prompts are left out: not defined" if total > count else ""
    axes.set(xlabel=f"before: {metric_label(metric)}{left_out}", ylabel=f"after: {metric_label(metric)}")
    change = np.sign(after - before) * (direction or 1)
    up, down = int((change > 0).sum()), int((change < 0).sum())
    words = ("better", "worse") if direction else ("more", "less")
    means = f"{num(before.mean(), 3)} before, {num(after.mean(), 3)} after"
    default = f"{words[0].capitalize()} on {up} of {count} prompts, {words[1]} on {down}; mean {means}"
    split = f"{words[0]} on {up}, {words[1]} on {down}, equal on {count - up - down}"
    alt = f"{metric_named(metric).title} of {count} prompts before and after: {split}. Mean {means}."
    return finish(figure, title, default, alt)


def _draw_pairs(axes: Axes, before: np.ndarray, after: np.ndarray, direction: int) -> None:
    """Points on both sides of the diagonal; the better side is shaded; equal points are one larger point."""
    ends = np.array([min(before.min(), after.min()), max(before.max(), after.max())])
    ends = ends + np.array([-1, 1]) * max(0.06 * np.ptp(ends), 1e-3)
    if direction:
        axes.fill_between(ends, ends, ends[1] if direction > 0 else ends[0], color=BETTER, alpha=0.15, linewidth=0)
        x, y, ha, va = (0.03, 0.97, "left", "top") if direction > 0 else (0.97, 0.03, "right", "bottom")
        axes.text(x, y, "better after", transform=axes.transAxes, ha=ha, va=va, color=BETTER)
    axes.plot(ends, ends, color=NEUTRAL, linestyle="--", linewidth=1.2)
    points, repeats = np.unique(np.stack([before, after]), axis=1, return_counts=True)
    name = "prompt (larger: several equal)" if repeats.max() > 1 else "prompt"
    axes.scatter(*points, s=50 * repeats, color=DATA, edgecolor="white", linewidth=0.6, alpha=0.85, label=name)
    axes.plot(before.mean(), after.mean(), "P", color="black", markersize=14, markeredgecolor="white", label="mean")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    legend_above(axes)
    light_grid(axes, "both")
