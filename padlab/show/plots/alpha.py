"""Along alpha, from the reward alone (0) to the selection question alone (1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from padlab.show.plots.metrics import better_sign, metric_label, short_name
from padlab.show.plots.style import (
    ITEMS,
    NEUTRAL,
    TEACHER,
    Figure,
    array,
    finish,
    house_style,
    item_names,
    label,
    legend_above,
    light_grid,
    num,
    percent,
    same_length,
)

_AXIS = "alpha (0: reward alone … 1: selection question alone)"
_LINES = ("-", "--", "-.", ":")


def _alphas(values: Any) -> np.ndarray:
    alphas = array(values, "alphas", ndim=1)
    if alphas.min() < 0 or alphas.max() > 1 or (np.diff(alphas) <= 0).any():
        raise ValueError("alphas: needs rising values from 0 to 1")
    return alphas


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
    """A metric along alpha with its 95 % band; the best alpha is marked.

    Args:
        alphas: K values from 0 to 1, rising.
        estimate, low, high: K values each and the ends of their intervals, or curves x K for several curves.
        best: the alpha to mark; None: where the first curve is highest.
        metric: the metric's name; known ones are shown with their unit.
        names: one name per curve; None: no legend for a single curve, numbers for several.
        title: replaces the title that says what to see.

    Raises:
        ValueError: shapes that do not fit, a value that is not finite, alphas not rising or outside 0 to 1.

    >>> plot_alpha_curve([0, 1], [0.1, 0.3], [0.0, 0.2], [0.2, 0.4]).alt_text
    'Kendall tau along alpha: best 0.30 [0.20, 0.40] at alpha 1; 0.10 at alpha 0, 0.30 at alpha 1.'
    """
    alphas = _alphas(alphas)
    bands = {"estimate": estimate, "low": low, "high": high}
    middle, lower, upper = (np.atleast_2d(array(values, name)) for name, values in bands.items())
    if not middle.shape == lower.shape == upper.shape or middle.shape[1:] != alphas.shape:
        shapes = [values.shape for values in (middle, lower, upper)]
        raise ValueError(f"plot_alpha_curve: {len(alphas)} alphas, but estimate, low, high have shapes {shapes}")
    given = names if names is not None else [f"curve {i + 1}" for i in range(len(middle))]
    same_length(names=given, estimate=middle)
    at = int(((better_sign(metric) or 1) * middle[0]).argmax() if best is None else np.abs(alphas - best).argmin())
    figure = Figure()
    axes = figure.add_subplot()
    for index, name in enumerate(given):
        colour = TEACHER if index == 0 else ITEMS[index % len(ITEMS)]
        axes.fill_between(alphas, lower[index], upper[index], color=colour, alpha=0.18, linewidth=0)
        look = {"color": colour, "linewidth": 3, "marker": "o", "linestyle": _LINES[index % 4]}
        axes.plot(alphas, middle[index], label=label(name), **look)
    if lower.min() < 0 < upper.max():
        axes.axhline(0, color="black", linewidth=1)
    axes.plot(alphas[at], middle[0, at], "*", color="black", markersize=20, markeredgecolor="white", label="best alpha")
    axes.axvline(alphas[at], color=NEUTRAL, linestyle=":", linewidth=1.5)
    axes.set_xlabel(_AXIS)
    axes.set_ylabel(metric_label(metric))
    handles, texts = axes.get_legend_handles_labels()
    keep = [i for i, text in enumerate(texts) if names is not None or len(middle) > 1 or text == "best alpha"]
    axes.legend([handles[i] for i in keep], [texts[i] for i in keep], loc="lower right", bbox_to_anchor=(1, 1), ncols=4)
    light_grid(axes)
    peak = f"{num(middle[0, at])} [{num(lower[0, at])}, {num(upper[0, at])}]"
    ends = f"{num(middle[0, 0])} at alpha {alphas[0]:g}, {num(middle[0, -1])} at alpha {alphas[-1]:g}"
    default = f"{short_name(metric)} is best at alpha {alphas[at]:g}: {peak}; {ends}"
    alt = f"{short_name(metric)} along alpha: best {peak} at alpha {alphas[at]:g}; {ends}."
    return finish(figure, title, default, alt)


def _first_choice(reward: np.ndarray, selection_prob: np.ndarray, alphas: np.ndarray, beta: float | int) -> np.ndarray:
    """P(response is ranked first), alphas x n: softmax of beta x ((1 - alpha) reward + alpha log p_sel)."""
    log_p = np.log(np.maximum(selection_prob, 1e-12))
    scores = beta * ((1 - alphas[:, None]) * reward + alphas[:, None] * log_p)
    odds = np.exp(scores - scores.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def _turns(names: list[str], best: np.ndarray, alphas: np.ndarray) -> str:
    """In words: at which alpha another response comes first."""
    steps = [k for k in range(1, len(best)) if best[k] != best[k - 1]]
    if not steps:
        return f"{names[best[0]]} stays first at every alpha"
    moves = [f"from {names[best[k - 1]]} to {names[best[k]]} at {alphas[k]:.2g}" for k in steps]
    return f"Alpha moves the first choice {', '.join(moves)}"


@house_style()
def plot_calibration_step(
    reward: Any,
    selection_prob: Any,
    alphas: Any = None,
    beta: float | int = 10.0,
    labels: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """What calibration does to one prompt: the chance of each response to be ranked first, along alpha.

    calibrated = (1 - alpha) x reward + alpha x log p_sel; scores = beta x calibrated; P(first) = softmax(scores).

    Args:
        reward: n rewards, nats/token.
        selection_prob: n selection probabilities, 0 to 1; 0 counts as 1e-12.
        alphas: K values from 0 to 1, rising; None: 41 from 0 to 1.
        beta: inverse temperature, above 0 (paper: 10).
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see.

    Raises:
        ValueError: different lengths, a value that is not finite or out of its range.

    >>> plot_calibration_step([-1.0, -1.2], [0.1, 0.9]).alt_text
    'Chance of rank 1 for 2 responses along alpha at beta 10. At alpha 0 A 88 %, at alpha 1 B >99 %.'
    """
    reward, chosen = array(reward, "reward", ndim=1), array(selection_prob, "selection_prob", ndim=1)
    n = same_length(reward=reward, selection_prob=chosen)
    alphas = _alphas(np.linspace(0, 1, 41) if alphas is None else alphas)
    if chosen.min() < 0 or chosen.max() > 1 + 1e-6 or not beta > 0:
        raise ValueError("plot_calibration_step: needs selection_prob from 0 to 1 and beta above 0")
    names, key = item_names(labels, n)
    first = _first_choice(reward, chosen, alphas, beta)
    figure = Figure(9.0, 5.0 + 0.22 * len(key))
    axes = figure.add_subplot()
    for i in range(n):
        look = {"color": ITEMS[i % len(ITEMS)], "linestyle": _LINES[i % 4], "linewidth": 3}
        axes.plot(alphas, first[:, i], label=names[i], **look)
        if np.abs(first[-1, :i] - first[-1, i]).min(initial=1.0) > 0.05:  # names must not cover one another
            axes.annotate(names[i], (alphas[-1], first[-1, i]), (6, 0), textcoords="offset points", va="center")
    axes.set(ylim=(-0.02, 1.02), ylabel="probability of rank 1 (0 to 1)")
    axes.set_xlabel("\n".join([_AXIS, *key]), loc="left" if key else "center")
    legend_above(axes, columns=8)
    light_grid(axes)
    best = first.argmax(1)
    ends = f"At alpha {alphas[0]:g} {names[best[0]]} {percent(first[0, best[0]])}, "
    ends += f"at alpha {alphas[-1]:g} {names[best[-1]]} {percent(first[-1, best[-1]])}"
    default = _turns(names, best, alphas)
    return finish(figure, title, default, f"Chance of rank 1 for {n} responses along alpha at beta {beta:g}. {ends}.")
