"""Before and after training on the same prompts: intervals of the differences, and prompt by prompt."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from padlab.show.plots.metrics import better_sign, metric_label, short_name
from padlab.show.plots.style import (
    BETTER,
    NEUTRAL,
    STUDENT,
    WORSE,
    Figure,
    array,
    finish,
    house_style,
    legend_above,
    num,
    same_length,
)


def _verdict(low: Any, high: Any, better: Any) -> tuple[str, str, str]:
    """Colour, marker and word for an interval of a difference."""
    if low <= 0 <= high:
        return NEUTRAL, "o", "not clear"
    if better == 0:
        return NEUTRAL, "o", "changed"
    return (BETTER, "^", "better") if (low > 0) == (better > 0) else (WORSE, "v", "worse")


def _forest_row(axes: Axes, name: str, values: Any, better: Any) -> str:
    """One metric: the interval against 0 on its own scale; returns the verdict."""
    before, after, estimate, low, high = values
    digits = 3 if max(abs(before), abs(after)) < 10 else 1
    colour, marker, word = _verdict(low, high, better)
    reach = 1.25 * (max(abs(low), abs(high)) or 0.01)  # nothing changed at all: any scale will do
    axes.axvline(0, color="black", linewidth=1.2)
    axes.errorbar(estimate, 0, xerr=[[estimate - low], [high - estimate]], color=colour, marker=marker, markersize=12,
                  linewidth=3, capsize=6)  # fmt: skip
    axes.set(xlim=(-reach, reach), ylim=(-1, 1), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=11)
    left = {"transform": axes.transAxes, "ha": "right", "va": "center"}
    axes.text(-0.02, 0.62, metric_label(name), fontsize=13, **left)
    axes.text(-0.02, 0.28, f"{num(before, digits)} → {num(after, digits)}", color=NEUTRAL, **left)
    signed = ("+" if estimate > 0 else "") + num(estimate, digits)
    axes.text(1.02, 0.62, f"{signed}  {word}", transform=axes.transAxes, va="center", color=colour if word != "worse"
              else "#8A3A6A", fontweight="bold")  # fmt: skip
    axes.text(
        1.02, 0.28, f"[{num(low, digits)}, {num(high, digits)}]", transform=axes.transAxes, va="center", color=NEUTRAL
    )
    return word


@house_style()
def plot_before_after(
    before: Any,
    after: Any,
    names: Sequence[str],
    estimate: Any,
    low: Any,
    high: Any,
    better: Any = None,
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
        ValueError: different lengths, a value that is not finite, low above high.

    >>> plot_before_after([0.2], [0.3], ["kendall_tau"], [0.1], [0.08], [0.12])
    <Figure: Differences after minus before with 95 % intervals. Kendall tau 0.100 [0.080, 0.120], better.>
    """
    named = {"before": before, "after": after, "estimate": estimate, "low": low, "high": high}
    columns = {name: array(values, name, ndim=1) for name, values in named.items()}
    names = [str(name) for name in names]
    count = same_length(names=names, **columns)
    if (columns["low"] > columns["high"]).any():
        raise ValueError("plot_before_after: low is above high; give the lower end of each interval first")
    signs = list(better) if better is not None else [better_sign(name) for name in names]
    same_length(names=names, better=signs)
    figure = Figure(9.6, 1.2 + 0.95 * count)
    figure.get_layout_engine().set(hspace=0.08)
    rows = np.stack(list(columns.values()), axis=1)
    all_axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    words = [_forest_row(*row) for row in zip(all_axes, names, rows, signs, strict=True)]
    all_axes[-1].set_xlabel("difference after − before, mean over prompts, 95 % interval")
    facts = [
        f"{short_name(name)} {num(row[2], 3)} [{num(row[3], 3)}, {num(row[4], 3)}], {word}"
        for name, row, word in zip(names, rows, words, strict=True)
    ]
    better_now = words.count("better")
    default = f"{better_now} of {count} metrics {'is' if better_now == 1 else 'are'} clearly better after training"
    if worse := words.count("worse"):
        default += f", {worse} clearly worse"
    alt = f"Differences after minus before with 95 % intervals. {'; '.join(facts)}."
    return finish(figure, title, default, alt)


@house_style()
def plot_paired(
    before: Any, after: Any, metric: str = "kendall_tau", better: int | None = None, title: str | None = None
) -> Figure:
    """Each prompt as a point: the metric before (across) and after (up); on the diagonal nothing changed.

    Args:
        before, after: one value per prompt, in the metric's unit; prompts with NaN (no order to compare) are left
            out and counted.
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
    known = ~np.isnan(pair).any(axis=0)
    before, after = (array(values[known], f"{metric} without NaN", ndim=1) for values in pair)
    count = len(before)
    sign = better_sign(metric) if better is None else better
    figure = Figure(7.6, 6.4)
    axes = figure.add_subplot()
    ends = np.array([min(before.min(), after.min()), max(before.max(), after.max())])
    ends = ends + np.array([-1, 1]) * max(0.06 * np.ptp(ends), 1e-3)
    if sign:
        axes.fill_between(ends, ends, ends[1] if sign > 0 else ends[0], color=BETTER, alpha=0.1, linewidth=0)
        corner = (0.03, 0.97, "left", "top") if sign > 0 else (0.97, 0.03, "right", "bottom")
        axes.text(*corner[:2], "better after", transform=axes.transAxes, ha=corner[2], va=corner[3], color="#00664B")
    axes.plot(ends, ends, color=NEUTRAL, linestyle="--", linewidth=1.2)
    points, many = np.unique(np.stack([before, after]), axis=1, return_counts=True)
    note = "prompt (larger: several alike)" if many.max() > 1 else "prompt"
    axes.scatter(*points, s=50 * many, color=STUDENT, edgecolor="white", linewidth=0.6, alpha=0.85, label=note)
    axes.plot(before.mean(), after.mean(), "P", color="black", markersize=14, markeredgecolor="white", label="mean")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    gaps = f"\n{total - count} of {total} prompts are left out: not defined" if total > count else ""
    axes.set_xlabel(f"before: {metric_label(metric)}{gaps}")
    axes.set_ylabel(f"after: {metric_label(metric)}")
    legend_above(axes)
    axes.grid(True)
    change = np.sign(after - before) * (sign or 1)
    up, down = int((change > 0).sum()), int((change < 0).sum())
    words = ("better", "worse") if sign else ("more", "less")
    means = f"{num(before.mean(), 3)} before, {num(after.mean(), 3)} after"
    default = f"{words[0].capitalize()} on {up} of {count} prompts, {words[1]} on {down}; mean {means}"
    split = f"{words[0]} on {up}, {words[1]} on {down}, equal on {count - up - down}"
    alt = f"{short_name(metric)} of {count} prompts before and after: {split}. Mean {means}."
    return finish(figure, title, default, alt)
