"""Metrics over the steps of training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from padlab.show.plots.arrays import array
from padlab.show.plots.labels import capitalise, metric_label, metric_named, num
from padlab.show.plots.style import DATA, Figure, finish, house_style, legend_above, light_grid

_DEFAULT_METRICS = ("loss", "jsd", "kendall_tau", "eval_loss")
_MOST_PANELS = 4


def _curve(history: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one metric, from the entries that have it; NaN counts as not having it."""
    rows = [row for row in history if row.get(name) is not None and row.get("step") is not None]
    if not rows:
        known = sorted({str(key) for row in history for key in row} - {"step"})
        raise ValueError(f"history: no entry has 'step' and {name!r}; there are: {known}")
    steps = array([row["step"] for row in rows], "step")
    values = array([row[name] for row in rows], name, finite=False)
    defined = ~np.isnan(values)
    return steps[defined], array(values[defined], name)


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean over `window` neighbours (odd), fewer at the ends."""
    kernel = np.ones(window)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")


def _draw_curve(axes: Axes, steps: np.ndarray, values: np.ndarray, window: int) -> np.ndarray:
    """Values faint and their running mean strong, or the values alone below a window of 3; returns what is strong."""
    smoothed = window >= 3
    mean = _running_mean(values, window) if smoothed else values
    if smoothed:
        axes.plot(steps, values, color=DATA, alpha=0.35, linewidth=1.2, label="each entry")
    axes.plot(steps, mean, color=DATA, linewidth=3, marker="o" if len(steps) < 15 else "", label=f"mean of {window}")
    if smoothed:
        legend_above(axes)
    axes.set_xlabel("training step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.margins(x=0.02)
    light_grid(axes)
    return mean


def _metrics_to_draw(history: Sequence[Mapping[str, Any]], metrics: Sequence[str] | None) -> list[str]:
    recorded = {name for row in history for name, value in row.items() if value is not None}
    names = [name for name in _DEFAULT_METRICS if name in recorded] if metrics is None else list(metrics)
    if not 1 <= len(names) <= _MOST_PANELS:
        limit = f"name 1 to {_MOST_PANELS} that the history has"
        raise ValueError(f"plot_training: {len(names)} metrics to draw ({names}); {limit}")
    return names


@house_style()
def plot_training(
    history: Sequence[Mapping[str, Any]],
    metrics: Sequence[str] | None = None,
    smooth: int | None = None,
    title: str | None = None,
) -> Figure:
    """Metrics over the training steps: each entry faint, the running mean strong.

    Args:
        history: entries with "step" and numbers by name, as a trainer logs them; an entry may lack a metric
            (NaN is a gap, and gaps are counted on the axis).
        metrics: the names to draw, one panel each, at most 4; None: those of loss, jsd, kendall_tau and eval_loss
            that occur.
        smooth: entries in the running mean, at least 1; None: about a tenth of them; below 3 nothing is smoothed.
        title: replaces the title that says what to see.

    Raises:
        ValueError: an empty history, a metric that no entry has, a value that is not finite, or over 4 metrics.

    >>> plot_training([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
    <Figure: Training over 2 steps: training loss 0.500 to 0.250.>
    """
    history = list(history)
    names = _metrics_to_draw(history, metrics)
    figure = Figure(max(8.0, 4.8 * len(names)) if len(names) < 3 else 12.6, 4.6)
    facts, steps = [], np.zeros(1)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        steps, values = _curve(history, name)
        window = smooth if smooth is not None else len(values) // 10
        drawn = _draw_curve(axes, steps, values, max(1, window + 1 - window % 2))
        axes.set_ylabel(metric_label(name))
        if gaps := sum(row.get(name) != row.get(name) for row in history):
            axes.set_xlabel(f"training step ({gaps} without a value)")
        facts.append(f"{metric_named(name).title} {num(drawn[0], 3)} to {num(drawn[-1], 3)}")
    text = ", ".join(facts)
    return finish(figure, title, capitalise(text), f"Training over {steps[-1]:.0f} steps: {text}.")
