"""Along alpha, from the reward alone (0) to the selection probability alone (1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from padlab.rankings.calibration import calibrate
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show.arrays import array, probabilities, rising, same_length
from padlab.show.html.safe import num
from padlab.show.plots.intervals import draw_line, interval_arrays
from padlab.show.plots.labels import item_names, label, legend_label, metric_label, metric_named
from padlab.show.plots.style import ITEMS, NEUTRAL, Figure, axes, finish, house_style, legend_above

APART = 0.015  # between the error bars of curves at one alpha, on the axis of alpha; less where alphas lie close
LEGEND = 45  # characters of the curves' names that fit beside each other
_ALPHA_LABEL = "alpha (0: reward alone … 1: selection probability alone)"


def _line_look(index: int) -> dict[str, Any]:
    """Colour and line style of curve number `index`."""
    return {"color": ITEMS[index % len(ITEMS)], "linestyle": ("-", "--", "-.", ":")[index % 4], "linewidth": 3}


@house_style()
def plot_alpha_curve(
    alphas: Any,
    estimate: Any,
    low: Any,
    high: Any,
    metric: str = "kendall_tau",
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """A metric along alpha with its 95 % intervals; a star marks the best mean of each curve.

    One curve has a band. Several have error bars, moved a little sideways so that none covers another.

    Args:
        alphas: K values from 0 to 1, rising.
        estimate, low, high: K means and the ends of their 95 % intervals, or curves x K for several curves.
        metric: the metric's name; known ones are shown with their unit.
        names: one name per curve; None for a single curve: the metric's.
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: shapes that do not fit, a value that is not finite, an estimate outside its interval, alphas not
            rising or outside 0 to 1.

    >>> plot_alpha_curve([0, 1], [0.1, 0.3], [0.0, 0.2], [0.2, 0.4])
    <Figure: Kendall tau along alpha. Highest mean Kendall tau: 0.30 [0.20, 0.40] at alpha 1; 0.10 at alpha 0, 0.30 \
at alpha 1.>
    """
    alphas = rising(alphas, "alphas", highest=1.0)
    estimate, low, high = (np.atleast_2d(values) for values in interval_arrays(estimate, low, high))
    if estimate.shape[1:] != alphas.shape:
        raise ValueError(f"plot_alpha_curve: {len(alphas)} alphas, but the estimates have shape {estimate.shape}")
    measured = metric_named(metric)
    names = [measured.title] if names is None else list(names)
    same_length(names=names, estimate=estimate)
    extreme, best = ("lowest", estimate.argmin(1)) if measured.better < 0 else ("highest", estimate.argmax(1))
    figure, ax = axes()
    apart = min(APART, np.diff(alphas).min(initial=1) / (2 * len(names)))
    star = {"linestyle": "", "marker": "*", "markersize": 20, "markeredgecolor": "white", "zorder": 5}
    for index, (name, top) in enumerate(zip(names, best, strict=True)):
        look = {"label": legend_label(name), "marker": "o", "bars": len(names) > 1} | _line_look(index)
        places = alphas + apart * (index - (len(names) - 1) / 2)
        draw_line(ax, places, estimate[index], low[index], high[index], **look)
        ax.plot(places[top], estimate[index, top], **star, color=look["color"] if len(names) > 1 else NEUTRAL)
    if low.min() < 0 < high.max():
        ax.axhline(0, color="black", linewidth=1)
    if len(names) == 1:
        ax.axvline(alphas[best[0]], color=NEUTRAL, linestyle=":", linewidth=1.5)
    ax.plot([], [], label=f"{extreme} mean", **star, color=NEUTRAL)
    ax.set(xlabel=_ALPHA_LABEL, ylabel=metric_label(metric))
    legend_above(ax, 4 if len("".join(map(label, names))) < LEGEND else 2)
    what, subject = f"{extreme} mean {measured.title}", f"{measured.title} along alpha"
    marked = [
        f"{num(curve[top])} [{num(below[top])}, {num(above[top])}] at alpha {alphas[top]:g}; "
        f"{num(curve[0])} at alpha {alphas[0]:g}, {num(curve[-1])} at alpha {alphas[-1]:g}"
        for top, curve, below, above in zip(best, estimate, low, high, strict=True)
    ]
    if len(names) == 1:
        return finish(figure, title, f"{what}: {marked[0]}", subject)
    short = "; ".join(
        f"{label(name)} {num(curve[top])} at {alphas[top]:g}"
        for name, top, curve in zip(names, best, estimate, strict=True)
    )
    facts = [f"{label(name)}: {text}" for name, text in zip(names, marked, strict=True)]
    return finish(figure, title, f"{what} along alpha: {short}", ". ".join([subject, *facts]))


@house_style()
def plot_calibration_step(
    reward: Any,
    selection_prob: Any,
    alphas: Any = None,
    beta: float | int = 10.0,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """What calibration does to one prompt: the probability of each response to have rank 1, along alpha.

    calibrated = (1 - alpha) * reward + alpha * log p_sel; scores = beta * calibrated; P(rank 1) = softmax(scores).

    Args:
        reward: n rewards, nats/token.
        selection_prob: n selection probabilities, 0 to 1; below 1e-6 they count as 1e-6, as in `padlab.calibrate`.
        alphas: K values from 0 to 1, rising; None: 41 from 0 to 1.
        beta: factor from calibrated rewards to scores, above 0 (paper: 10).
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: different lengths, a value that is not finite or out of its range.

    >>> plot_calibration_step([-1.0, -1.2], [0.1, 0.9]).alt_text
    'Probability of rank 1 of 2 responses along alpha at beta 10. First choice: A from alpha 0, B from alpha 0.1.'
    """
    reward, selection_prob = array(reward, "reward", ndim=1), probabilities(selection_prob, "selection_prob")
    n = same_length(reward=reward, selection_prob=selection_prob)
    alphas = np.linspace(0, 1, 41) if alphas is None else rising(alphas, "alphas", highest=1.0)
    if not beta > 0:
        raise ValueError(f"plot_calibration_step: beta is {beta}, but must be above 0")
    names, key = item_names(labels, n)
    reward, selection_prob = torch.as_tensor(reward), torch.as_tensor(selection_prob)
    scores = beta * torch.stack([calibrate(reward, selection_prob, float(alpha)) for alpha in alphas])
    first = PlackettLuce(scores).top_choice().numpy()  # alphas x n
    figure, ax = axes()
    for i, name in enumerate(names):
        ax.plot(alphas, first[:, i], label=legend_label(name), **_line_look(i))
    ax.set(ylim=(-0.02, 1.02), xlabel=_ALPHA_LABEL, ylabel="probability of rank 1 (0 to 1)")
    legend_above(ax, columns=8)
    best = first.argmax(1)
    changes = [0, *(np.flatnonzero(np.diff(best)) + 1)]
    finding = "first choice: " + ", ".join(f"{names[best[k]]} from alpha {alphas[k]:.2g}" for k in changes)
    return finish(figure, title, finding, f"Probability of rank 1 of {n} responses along alpha at beta {beta:g}", key)
