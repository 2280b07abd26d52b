"""Metrics over the steps of training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from padlab.show.arrays import array
from padlab.show.html.safe import num
from padlab.show.plots.labels import metric_label, metric_named
from padlab.show.plots.style import DATA, Figure, axes, finish, house_style, legend_above

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


def _draw_curve(ax: Axes, steps: np.ndarray, values: np.ndarray, window: int) -> np.ndarray:
    """Values faint and their running mean strong, or the values alone below a window of 3; returns what is strong."""
    mean = values
    if window >= 3:
        mean = _running_mean(values, window)
        ax.plot(steps, values, color=DATA, alpha=0.35, linewidth=1.2, label="each entry")
    ax.plot(steps, mean, color=DATA, linewidth=3, marker="o" if len(steps) < 15 else "", label=f"mean of {window}")
    if window >= 3:
        legend_above(ax)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.margins(x=0.02)
    return mean


class LiveTraining:
    """Draws `plot_training` anew in a notebook's cell while a training runs: `distill(..., on_log=LiveTraining())`.

    Args:
        metrics: as in `plot_training`.
        every: logged steps between two drawings, at least 1; a drawing takes about a fifth of a second.
    """

    def __init__(self, metrics: Sequence[str] | None = None, every: int = 4) -> None:
        self.metrics, self.every, self.display = metrics, every, None

    def __call__(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Draw the steps logged so far; nothing below two."""
        from IPython.display import display

        steps = [entry for entry in history if "loss" in entry]
        if len(steps) < 2 or len(steps) % self.every:
            return
        figure = plot_training(steps, self.metrics)
        if self.display is None:
            self.display = display(figure, display_id=True)
        elif self.display:
            self.display.update(figure)


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
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: an empty history, a metric that no entry has, a value that is not finite, or over 4 metrics.

    >>> plot_training([{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
    <Figure: Training over 2 steps. Training loss 0.500 to 0.250.>
    """
    history = list(history)
    if metrics is None:
        metrics = [name for name in _DEFAULT_METRICS if any(row.get(name) is not None for row in history)]
    if not 1 <= len(metrics) <= _MOST_PANELS:
        raise ValueError(f"plot_training: {len(metrics)} metrics to draw; name 1 to {_MOST_PANELS} of the history's")
    figure, panels = axes(max(8.0, min(4.8 * len(metrics), 12.6)), 4.6, columns=len(metrics))
    facts, steps = [], np.zeros(1)
    for ax, name in zip(np.ravel(panels), metrics, strict=True):
        steps, values = _curve(history, name)
        window = smooth if smooth is not None else len(values) // 10
        drawn = _draw_curve(ax, steps, values, max(1, window + 1 - window % 2))
        gaps = sum(row.get(name) != row.get(name) for row in history)  # only NaN differs from itself
        ax.set(xlabel="training step" + f" ({gaps} without a value)" * bool(gaps), ylabel=metric_label(name))
        facts.append(f"{metric_named(name).title} {num(drawn[0], 3)} to {num(drawn[-1], 3)}")
    return finish(figure, title, ", ".join(facts), f"Training over {steps[-1]:.0f} steps")
