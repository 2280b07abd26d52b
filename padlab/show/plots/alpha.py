"""Along alpha, from the reward alone (0) to the selection probability alone (1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes

from padlab.rankings.calibration import calibrate
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show.plots.arrays import array, probabilities, rising, same_length
from padlab.show.plots.intervals import draw_line, interval_arrays
from padlab.show.plots.labels import item_names, label, metric_label, metric_named, num, percent
from padlab.show.plots.style import ITEMS, NEUTRAL, Figure, finish, house_style, legend_above, light_grid

_ALPHA_LABEL = "alpha (0: reward alone … 1: selection probability alone)"
_LINE_STYLES = ("-", "--", "-.", ":")


def _line_look(index: int) -> dict[str, Any]:
    """Colour and line style of curve number `index`."""
    return {"color": ITEMS[index % len(ITEMS)], "linestyle": _LINE_STYLES[index % 4], "linewidth": 3}


@house_style()
def plot_alpha_curve(
    alphas: Any,
    estimate: Any,
    low: Any,
    high: Any,
    best: float | int | None = None,
    metric: str = "kendall_tau",
    names: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """A metric along alpha with its 95 % band; one alpha is marked, by default the one with the best mean.

    Args:
        alphas: K values from 0 to 1, rising.
        estimate, low, high: K means and the ends of their 95 % intervals, or curves x K for several curves.
        best: the alpha to mark; None: where the first curve is highest (lowest, where less is better).
        metric: the metric's name; known ones are shown with their unit.
        names: one name per curve; None: no legend for a single curve, numbers for several.
        title: replaces the title that says what to see.

    Raises:
        ValueError: shapes that do not fit, a value that is not finite, an estimate outside its interval, alphas not
            rising or outside 0 to 1.

    >>> plot_alpha_curve([0, 1], [0.1, 0.3], [0.0, 0.2], [0.2, 0.4]).alt_text
    'Kendall tau along alpha: highest mean 0.30 [0.20, 0.40] at alpha 1; 0.10 at alpha 0, 0.30 at alpha 1.'
    """
    alphas = rising(alphas, "alphas", highest=1.0)
    named = {"estimate": estimate, "low": low, "high": high}
    curves = [np.atleast_2d(array(values, name)) for name, values in named.items()]
    if any(values.shape[1:] != alphas.shape for values in curves):
        shapes = [values.shape for values in curves]
        raise ValueError(f"plot_alpha_curve: {len(alphas)} alphas, but estimate, low, high have shapes {shapes}")
    estimate, low, high = interval_arrays(*curves, ndim=2)
    curve_names = [f"curve {i + 1}" for i in range(len(estimate))] if names is None else list(names)
    same_length(names=curve_names, estimate=estimate)
    marked, extreme = _marked_alpha(alphas, estimate[0], best, metric)
    figure = Figure()
    axes = figure.add_subplot()
    for index, name in enumerate(curve_names):
        shown = label(name) if names is not None or len(estimate) > 1 else None
        draw_line(axes, alphas, estimate[index], low[index], high[index], label=shown, marker="o", **_line_look(index))
    if low.min() < 0 < high.max():
        axes.axhline(0, color="black", linewidth=1)
    _draw_mark(axes, alphas[marked], estimate[0, marked], f"{extreme} mean" if best is None else "marked alpha")
    axes.set(xlabel=_ALPHA_LABEL, ylabel=metric_label(metric))
    legend_above(axes)
    light_grid(axes)
    return finish(figure, title, *_alpha_sentences(alphas, (estimate[0], low[0], high[0]), marked, extreme, metric))


def _marked_alpha(alphas: np.ndarray, estimate: np.ndarray, best: float | int | None, name: str) -> tuple[int, str]:
    """Index of the alpha to mark, and what distinguishes its mean; "" where the user chose it."""
    if best is not None:
        return int(np.abs(alphas - best).argmin()), ""
    return (int(estimate.argmin()), "lowest") if metric_named(name).better < 0 else (int(estimate.argmax()), "highest")


def _draw_mark(axes: Axes, alpha: float, value: float, name: str) -> None:
    style = {"color": NEUTRAL, "markersize": 20, "markeredgecolor": "white", "zorder": 5}
    axes.plot(alpha, value, "*", label=name, **style)
    axes.axvline(alpha, color=NEUTRAL, linestyle=":", linewidth=1.5)


def _alpha_sentences(
    alphas: np.ndarray, curve: tuple[np.ndarray, np.ndarray, np.ndarray], marked: int, extreme: str, name: str
) -> tuple[str, str]:
    """The default title and the alt text of an alpha curve."""
    estimate, low, high = curve
    value = f"{num(estimate[marked])} [{num(low[marked])}, {num(high[marked])}] at alpha {alphas[marked]:g}"
    value = f"{extreme} mean {value}" if extreme else value
    ends = f"{num(estimate[0])} at alpha {alphas[0]:g}, {num(estimate[-1])} at alpha {alphas[-1]:g}"
    return f"{metric_named(name).title}: {value}; {ends}", f"{metric_named(name).title} along alpha: {value}; {ends}."


def _first_choice(reward: np.ndarray, selection_prob: np.ndarray, alphas: np.ndarray, beta: float | int) -> np.ndarray:
    """P(response has rank 1), alphas x n, from the calibrated rewards at each alpha."""
    reward, selection_prob = torch.as_tensor(reward), torch.as_tensor(selection_prob)
    calibrated = torch.stack([calibrate(reward, selection_prob, float(alpha)) for alpha in alphas])
    return PlackettLuce(beta * calibrated).top_choice().numpy()


def _describe_changes(names: list[str], first: np.ndarray, alphas: np.ndarray) -> str:
    """In words: from which alpha on another response is the first choice."""
    changes = [k for k in range(1, len(first)) if first[k] != first[k - 1]]
    if not changes:
        return f"{names[first[0]]} is the first choice at every alpha"
    moves = [f"from {names[first[k - 1]]} to {names[first[k]]} at alpha {alphas[k]:.2g}" for k in changes]
    return f"The first choice changes {', '.join(moves)}"


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
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, a value that is not finite or out of its range.

    >>> plot_calibration_step([-1.0, -1.2], [0.1, 0.9]).alt_text
    'Probability of rank 1 of 2 responses along alpha at beta 10. At alpha 0 A 88 %, at alpha 1 B >99 %.'
    """
    reward, selection_prob = array(reward, "reward", ndim=1), probabilities(selection_prob, "selection_prob")
    n = same_length(reward=reward, selection_prob=selection_prob)
    alphas = np.linspace(0, 1, 41) if alphas is None else rising(alphas, "alphas", highest=1.0)
    if not beta > 0:
        raise ValueError(f"plot_calibration_step: beta is {beta}, but must be above 0")
    names, key = item_names(labels, n)
    first = _first_choice(reward, selection_prob, alphas, beta)
    figure = Figure(9.0, 5.0 + 0.22 * len(key))
    axes = figure.add_subplot()
    for i in range(n):
        axes.plot(alphas, first[:, i], label=names[i], **_line_look(i))
        if np.abs(first[-1, :i] - first[-1, i]).min(initial=1.0) > 0.05:  # names must not cover one another
            axes.annotate(names[i], (alphas[-1], first[-1, i]), (6, 0), textcoords="offset points", va="center")
    axes.set(ylim=(-0.02, 1.02), ylabel="probability of rank 1 (0 to 1)")
    axes.set_xlabel("\n".join([_ALPHA_LABEL, *key]), loc="left" if key else "center")
    legend_above(axes, columns=8)
    light_grid(axes)
    best = first.argmax(1)
    ends = f"At alpha {alphas[0]:g} {names[best[0]]} {percent(first[0, best[0]])}, "
    ends += f"at alpha {alphas[-1]:g} {names[best[-1]]} {percent(first[-1, best[-1]])}"
    alt = f"Probability of rank 1 of {n} responses along alpha at beta {beta:g}. {ends}."
    return finish(figure, title, _describe_changes(names, best, alphas), alt)
