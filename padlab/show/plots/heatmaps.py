"""Heat maps of distributions over rankings: the pairwise matrix and the rank marginals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap

from padlab.show.plots.arrays import probabilities
from padlab.show.plots.labels import item_names, label, percent
from padlab.show.plots.style import NEUTRAL, STUDENT, TEACHER, Figure, finish, house_style

_PAIR_COLOURS = LinearSegmentedColormap.from_list("pairs", ["#6E2A5A", "#CFAFC5", "#FFFFFF", "#B5D9BC", "#1B7A43"])
_LARGEST_WITH_NUMBERS = 8  # larger matrices have cells too small for their numbers


def _panels(matrix: Any) -> dict[str, np.ndarray]:
    """One matrix or a mapping from model name to matrix, as checked square arrays of one size; student first."""
    panels = matrix if isinstance(matrix, Mapping) else {"": matrix}
    arrays = {str(model): probabilities(values, "matrix", ndim=2) for model, values in panels.items()}
    shapes = {values.shape for values in arrays.values()}
    if len(shapes) != 1 or any(rows != columns for rows, columns in shapes):
        raise ValueError(f"matrix: needs square matrices of one size, got shapes {sorted(shapes)}")
    return dict(sorted(arrays.items(), key=lambda panel: ("teacher" in panel[0]) - ("student" in panel[0])))


def _model_colours(model: str) -> Colormap:
    """White to the model's own colour; grey for a model that is neither student nor teacher."""
    end = STUDENT if "student" in model else TEACHER if "teacher" in model else NEUTRAL
    return LinearSegmentedColormap.from_list(model, ["#FFFFFF", end])


def _canvas(panels: dict[str, np.ndarray], labels: Sequence[str] | None) -> tuple[Figure, list[Axes], list[str]]:
    """A figure with one square axes per panel and the key of the labels below; the axes; the short names."""
    n = len(next(iter(panels.values())))
    names, key = item_names(labels, n, limit=70)
    side = min(max(4.2, 0.4 * n), 8)
    figure = Figure(max(1.4 + side * len(panels), 8.0 if key else 7.2), side + 0.9 + 0.22 * len(key))
    figure.colours = 200
    all_axes = list(figure.subplots(1, len(panels), squeeze=False)[0])
    for axes, model in zip(all_axes, panels, strict=True):
        axes.set_title(label(model))
    if key:
        figure.supxlabel("\n".join(key), x=0.02, ha="left", fontsize="small")
    return figure, all_axes, names


def _draw_heat(axes: Axes, values: np.ndarray, names: tuple[list[str], list[str]], **colours: Any) -> None:
    """A square heat map; names of rows and columns; the number in each cell where it fits."""
    rows, columns = names
    style = {"square": True, "cbar": False, "annot": len(rows) <= _LARGEST_WITH_NUMBERS, "fmt": ".2f"}
    sns.heatmap(values, ax=axes, xticklabels=columns, yticklabels=rows, vmin=0, **style, **colours)
    axes.tick_params(length=0, rotation=0)


def _sentence(panels: dict[str, np.ndarray], facts: list[str]) -> str:
    """One fact per panel, with the model's name where it has one."""
    return ", ".join(f"{model} {fact}" if model else fact for model, fact in zip(panels, facts, strict=True))


@house_style()
def plot_pairwise(matrix: Any, labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """Probability that the row's response is ranked before the column's.

    Args:
        matrix: n x n probabilities, 0 to 1 (the diagonal is not drawn), or a mapping from model name to such a
            matrix: one panel each, the student's first.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see.

    Raises:
        ValueError: not square, different sizes, a value that is not a probability.

    >>> plot_pairwise([[0.5, 0.9], [0.1, 0.5]]).alt_text
    'Pairwise probabilities of 2 responses. Most certain pair: A before B 90 %.'
    """
    panels = _panels(matrix)
    figure, all_axes, names = _canvas(panels, labels)
    facts = []
    for axes, values in zip(all_axes, panels.values(), strict=True):
        others = np.where(np.eye(len(values), dtype=bool), np.nan, values)
        _draw_heat(axes, others, (names, names), cmap=_PAIR_COLOURS, vmax=1)
        axes.set_xlabel("is ranked before this response")
        i, j = np.unravel_index(np.nan_to_num(others, nan=-1.0).argmax(), others.shape)
        facts.append(f"{names[i]} before {names[j]} {percent(values[i, j])}")
    all_axes[0].set_ylabel("this response …")
    figure.colorbar(all_axes[0].collections[0], ax=all_axes, label="probability (0 to 1)", shrink=0.8)
    text = f"Most certain pair: {_sentence(panels, facts)}"
    return finish(figure, title, text, f"Pairwise probabilities of {len(names)} responses. {text}.")


@house_style()
def plot_rank_marginals(matrix: Any, labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """Probability of each response at each rank: every row and every column sums to 1.

    Args:
        matrix: n x n probabilities, 0 to 1, response by rank, or a mapping from model name to such a matrix: one
            panel each, the student's first, in the model's colour.
        labels: n texts; None names the responses A, B, ...
        title: replaces the title that says what to see.

    Raises:
        ValueError: not square, different sizes, a value that is not a probability.

    >>> plot_rank_marginals([[0.9, 0.1], [0.1, 0.9]]).alt_text
    'Rank probabilities of 2 responses. Most probable at rank 1: A 90 %.'
    """
    panels = _panels(matrix)
    figure, all_axes, names = _canvas(panels, labels)
    ranks = [str(rank + 1) for rank in range(len(names))]
    highest = 1.0 if len(names) <= _LARGEST_WITH_NUMBERS else max(values.max() for values in panels.values())
    facts = []
    for axes, (model, values) in zip(all_axes, panels.items(), strict=True):
        _draw_heat(axes, values, (names, ranks), cmap=_model_colours(model), vmax=highest)
        unit = "probability (0 to 1)" if axes is all_axes[-1] else ""
        figure.colorbar(axes.collections[0], ax=axes, label=unit, shrink=0.75)
        axes.set_xlabel("rank (1 = best)")
        best = values[:, 0].argmax()
        facts.append(f"{names[best]} {percent(values[best, 0])}")
    all_axes[0].set_ylabel("response")
    text = f"Most probable at rank 1: {_sentence(panels, facts)}"
    return finish(figure, title, text, f"Rank probabilities of {len(names)} responses. {text}.")
