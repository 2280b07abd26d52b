"""Exact summaries of distributions over rankings: pairwise matrix, rank marginals, entropy along beta."""

from collections.abc import Mapping, Sequence
from math import lgamma
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap

from padlab.show.plots.style import (
    NEUTRAL,
    STUDENT,
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
)

_PAIRS = LinearSegmentedColormap.from_list("pairs", ["#6A3D7C", "#C7B2D3", "#FFFFFF", "#B5D9BC", "#1B7A43"])


def _panels(matrix: Any, name: str) -> dict[str, np.ndarray]:
    """One matrix or a mapping from model name to matrix, as checked square arrays of one size."""
    panels = matrix if isinstance(matrix, Mapping) else {"": matrix}
    arrays = {str(who): array(values, name, ndim=2) for who, values in panels.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) != 1 or any(rows != columns for rows, columns in shapes):
        raise ValueError(f"{name}: needs square matrices of one size, got shapes {sorted(shapes)}")
    if any(values.min() < -1e-6 or values.max() > 1 + 1e-6 for values in arrays.values()):
        raise ValueError(f"{name}: needs probabilities from 0 to 1")
    return arrays


def _heat(axes: Axes, values: np.ndarray, colours: Colormap, rows: list[str], columns: list[str], most: Any) -> Any:
    """Heat map from 0 to `most`, with the number in each cell while the cells are large enough to read."""
    image = axes.imshow(values, cmap=colours, vmin=0, vmax=most)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(values):
        if len(rows) <= 8 and np.isfinite(value):
            red, green, blue, _ = colours(value / most)
            ink = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink)
    return image


def _colours(who: str) -> Colormap:
    """White to the model's own colour; grey for a model that is neither teacher nor student."""
    end = TEACHER if "teacher" in who else STUDENT if "student" in who else NEUTRAL
    return LinearSegmentedColormap.from_list(who, ["#FFFFFF", end])


def _canvas(panels: dict[str, np.ndarray], labels: Sequence[str] | None) -> tuple[Figure, list[Axes], list[str]]:
    """A figure with one square axes per panel and the key of the labels below; the axes; the short names."""
    n = len(next(iter(panels.values())))
    names, key = item_names(labels, n, limit=70)
    side = min(max(4.2, 0.4 * n), 8)
    figure = Figure(max(1.4 + side * len(panels), 8.0 if key else 7.2), side + 0.9 + 0.22 * len(key))
    all_axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    for axes, who in zip(all_axes, panels, strict=True):
        axes.set_title(label(who))
    if key:
        figure.supxlabel("\n".join(key), x=0.02, ha="left", fontsize=12)
    return figure, all_axes, names


@house_style()
def plot_pairwise(matrix: Any, labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """Probability that the row's response is ranked before the column's.

    Args:
        matrix: n x n probabilities, 0 to 1 (the diagonal is not drawn), or a mapping from model name to such a
            matrix: one panel each.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see.

    Raises:
        ValueError: not square, different sizes, a value that is no probability.

    >>> plot_pairwise([[0.5, 0.9], [0.1, 0.5]]).alt_text
    'Pairwise probabilities of 2 responses. Surest: A before B (90 %).'
    """
    panels = _panels(matrix, "matrix")
    figure, all_axes, names = _canvas(panels, labels)
    for axes, values in zip(all_axes, panels.values(), strict=True):
        blank = np.where(np.eye(len(values), dtype=bool), np.nan, values)
        image = _heat(axes, blank, _PAIRS, names, names, 1.0)
        axes.set_xlabel("is ranked before this response")
    all_axes[0].set_ylabel("this response …")
    figure.colorbar(image, ax=all_axes, label="probability (0 to 1)", shrink=0.8)
    facts = []
    for who, values in panels.items():
        off = np.where(np.eye(len(values), dtype=bool), -1.0, values)
        i, j = np.unravel_index(off.argmax(), off.shape)
        facts.append(f"{names[i]} before {names[j]} ({who} {percent(values[i, j])})".replace("( ", "("))
    text = ", ".join(facts)
    return finish(
        figure, title, f"Surest pair: {text}", f"Pairwise probabilities of {len(names)} responses. Surest: {text}."
    )


@house_style()
def plot_rank_marginals(matrix: Any, labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """Probability of each response at each rank: every row and every column sums to 1.

    Args:
        matrix: n x n probabilities, 0 to 1, response by rank, or a mapping from model name to such a matrix: one
            panel each, in the model's colour.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see.

    Raises:
        ValueError: not square, different sizes, a value that is no probability.

    >>> plot_rank_marginals([[0.9, 0.1], [0.1, 0.9]]).alt_text
    'Rank probabilities of 2 responses. First rank: A (90 %).'
    """
    panels = _panels(matrix, "matrix")
    figure, all_axes, names = _canvas(panels, labels)
    ranks = [str(rank + 1) for rank in range(len(names))]
    most = 1.0 if len(names) <= 8 else max(values.max() for values in panels.values())
    facts = []
    for axes, (who, values) in zip(all_axes, panels.items(), strict=True):
        image = _heat(axes, values, _colours(who), names, ranks, most)
        figure.colorbar(image, ax=axes, label="probability (0 to 1)" * (axes is all_axes[-1]), shrink=0.75)
        axes.set_xlabel("rank (1 = best)")
        best = values[:, 0].argmax()
        facts.append(f"{names[best]} ({who} {percent(values[best, 0])})".replace("( ", "("))
    all_axes[0].set_ylabel("response")
    text = ", ".join(facts)
    return finish(
        figure,
        title,
        f"Likeliest at rank 1: {text}",
        f"Rank probabilities of {len(names)} responses. First rank: {text}.",
    )


def _entropies(reward: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """Entropy in nats, prompts x betas."""
    import torch

    from padlab.rankings.plackett_luce import PlackettLuce

    scores = torch.as_tensor(reward[:, None, :] * betas[None, :, None])
    return PlackettLuce(scores).entropy().numpy()


@house_style()
def plot_entropy_beta(
    reward: Any, betas: Any, student_reward: Any = None, mark: float | int | None = 10.0, title: str | None = None
) -> Figure:
    """Entropy of the distribution over rankings as beta grows: from all rankings alike to one certain ranking.

    Args:
        reward: the teacher's n rewards in nats/token, or prompts x n of them: thin lines and their mean; n up to 16.
        betas: K inverse temperatures, each at least 0, rising.
        student_reward: the same for the student, or None.
        mark: a beta to mark, by default the paper's 10; None: no mark.
        title: replaces the title that says what to see.

    Raises:
        ValueError: wrong shapes, a value that is not finite, beta below 0 or not rising.

    >>> plot_entropy_beta([-1.0, -2.0], [0.0, 10.0]).alt_text
    'Entropy over 2 rankings of 2 responses: teacher 0.69 nats at beta 0 and 0.00 at beta 10. Uniform: 0.69 nats.'
    """
    betas = array(betas, "betas", ndim=1)
    if betas.min() < 0 or (np.diff(betas) <= 0).any():
        raise ValueError("betas: needs rising values, none below 0")
    rewards = {"teacher": reward} if student_reward is None else {"teacher": reward, "student": student_reward}
    curves = {}
    figure = Figure()
    axes = figure.add_subplot()
    for who, colour in (("teacher", TEACHER), ("student", STUDENT)):
        if who in rewards:
            values = np.atleast_2d(array(rewards[who], f"{who} reward"))
            n, lines = values.shape[-1], _entropies(values, betas)
            curves[who] = lines.mean(0)
            if len(lines) > 1:
                axes.fill_between(betas, *np.quantile(lines, [0.1, 0.9], axis=0), color=colour, alpha=0.18, linewidth=0)
            many = f" (mean of {len(lines)} prompts; band: the middle 80 %)" if len(lines) > 1 else ""
            axes.plot(betas, curves[who], color=colour, linewidth=3, label=who + many)
    most = lgamma(n + 1)
    axes.axhline(most, color=NEUTRAL, linestyle="--", linewidth=1.2)
    axes.text(betas[-1], most, f"all rankings alike: ln {n}! = {most:.2f}", ha="right", va="bottom", color=NEUTRAL)
    if mark is not None and betas[0] <= mark <= betas[-1]:
        axes.axvline(mark, color=NEUTRAL, linestyle=":", linewidth=1.5)
        axes.text(mark, most * 0.02, f" beta = {mark:g}", color=NEUTRAL)
    axes.set_xlabel("beta (rewards are multiplied by it; no unit)")
    axes.set_ylabel("entropy (nats)")
    axes.set_ylim(0, most * 1.12)
    legend_above(axes, columns=1)
    light_grid(axes)
    at = betas[-1] if mark is None else min(max(mark, betas[0]), betas[-1])
    shares = ", ".join(f"{who} {num(np.interp(at, betas, curve))}" for who, curve in curves.items())
    default = f"A larger beta makes preferences sharper; at beta {at:g}: {shares} of {num(most)} nats"
    ends = "; ".join(
        f"{w} {num(c[0])} nats at beta {betas[0]:g} and {num(c[-1])} at beta {betas[-1]:g}" for w, c in curves.items()
    )
    count = f"{round(np.exp(most)):,} rankings of " if n <= 10 else "the rankings of "
    return finish(figure, title, default, f"Entropy over {count}{n} responses: {ends}. Uniform: {num(most)} nats.")
