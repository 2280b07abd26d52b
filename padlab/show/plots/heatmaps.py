"""Heat maps of distributions over rankings: the pairwise matrix and the rank marginals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from padlab.show.arrays import probabilities
from padlab.show.plots.labels import item_names, label, percent
from padlab.show.plots.style import NEUTRAL, STUDENT, TEACHER, Figure, finish, house_style

_PAIR_COLOURS = ("#6E2A5A", "#CFAFC5", "#FFFFFF", "#B5D9BC", "#1B7A43")
_LARGEST_WITH_NUMBERS = 8  # larger matrices have cells too small for their numbers


def _panels(matrix: Any) -> dict[str, np.ndarray]:
    """One matrix or a mapping from model name to matrix, as checked square arrays of one size; student first."""
    panels = matrix if isinstance(matrix, Mapping) else {"": matrix}
    arrays = {str(model): probabilities(values, "matrix", ndim=2) for model, values in panels.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) != 1 or any(rows != columns for rows, columns in shapes):
        raise ValueError(f"matrix: needs square matrices of one size, got shapes {sorted(shapes)}")
    return dict(sorted(arrays.items(), key=lambda panel: ("teacher" in panel[0]) - ("student" in panel[0])))


def _draw_panels(
    panels: dict[str, np.ndarray], ticks: tuple[list[str], list[str]], colours: Sequence[Sequence[str]], highest: float
) -> tuple[Figure, list[Axes]]:
    """A square heat map per panel, from 0 to `highest`, with the names of columns and rows and the model's name."""
    size = len(ticks[0])
    side = min(max(4.2, 0.4 * size), 8)
    figure = Figure(max(1.4 + side * len(panels), 8.0), side + 0.9)
    figure.colours = 200
    look = {"square": True, "annot": size <= _LARGEST_WITH_NUMBERS, "fmt": ".2f", "vmin": 0, "vmax": highest}
    look |= {"xticklabels": ticks[0], "yticklabels": ticks[1], "cbar_kws": {"shrink": 0.75}}
    all_axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    for ax, (model, values), ends in zip(all_axes, panels.items(), colours, strict=True):
        sns.heatmap(values, ax=ax, cmap=LinearSegmentedColormap.from_list(model, ends), **look)
        ax.set_title(label(model))
        ax.tick_params(length=0, rotation=0)
    all_axes[-1].collections[0].colorbar.set_label("probability (0 to 1)")
    return figure, all_axes


@house_style()
def plot_pairwise(matrix: Any, labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """Probability that the row's response is ranked before the column's.

    Args:
        matrix: n x n probabilities, 0 to 1 (the diagonal is not drawn), or a mapping from model name to such a
            matrix: one panel each, the student's first.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: not square, different sizes, a value that is not a probability.

    >>> plot_pairwise([[0.5, 0.9], [0.1, 0.5]]).alt_text
    'Pairwise probabilities of 2 responses. Most certain pair: A before B 90 %.'
    """
    panels = _panels(matrix)
    n = len(next(iter(panels.values())))
    names, key = item_names(labels, n, limit=70)
    panels = {model: np.where(np.eye(n, dtype=bool), np.nan, values) for model, values in panels.items()}
    figure, all_axes = _draw_panels(panels, (names, names), [_PAIR_COLOURS] * len(panels), highest=1.0)
    for ax in all_axes:
        ax.set_xlabel("is ranked before this response")
    all_axes[0].set_ylabel("this response …")
    facts = []
    for model, values in panels.items():
        i, j = np.unravel_index(np.nanargmax(values), values.shape)
        facts.append(f"{model} {names[i]} before {names[j]} {percent(values[i, j])}".strip())
    finding = f"most certain pair: {', '.join(facts)}"
    return finish(figure, title, finding, f"Pairwise probabilities of {n} responses", key)


@house_style()
def plot_rank_marginals(matrix: Any, labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """Probability of each response at each rank: every row and every column sums to 1.

    Args:
        matrix: n x n probabilities, 0 to 1, response by rank, or a mapping from model name to such a matrix: one
            panel each, the student's first, in the model's colour.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: not square, different sizes, a value that is not a probability.

    >>> plot_rank_marginals([[0.9, 0.1], [0.1, 0.9]]).alt_text
    'Rank probabilities of 2 responses. Most probable at rank 1: A 90 %.'
    """
    panels = _panels(matrix)
    n = len(next(iter(panels.values())))
    names, key = item_names(labels, n, limit=70)
    ranks = [str(rank + 1) for rank in range(n)]
    ends = [STUDENT if "student" in model else TEACHER if "teacher" in model else NEUTRAL for model in panels]
    highest = 1.0 if n <= _LARGEST_WITH_NUMBERS else max(values.max() for values in panels.values())
    figure, all_axes = _draw_panels(panels, (ranks, names), [("#FFFFFF", end) for end in ends], highest)
    for ax in all_axes:
        ax.set_xlabel("rank (1 = best)")
    all_axes[0].set_ylabel("response")
    best = {model: values[:, 0].argmax() for model, values in panels.items()}
    facts = [f"{model} {names[i]} {percent(panels[model][i, 0])}".strip() for model, i in best.items()]
    finding = f"most probable at rank 1: {', '.join(facts)}"
    return finish(figure, title, finding, f"Rank probabilities of {n} responses", key)
