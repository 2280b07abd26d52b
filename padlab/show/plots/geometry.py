"""Rankings as points in a plane: a triangle for n = 3, the permutohedron for n = 4; both models as half-discs."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Wedge
from matplotlib.patheffects import withStroke

from padlab.rankings.large_n import js_divergence
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.show.plots.labels import item_names, num, percent
from padlab.show.plots.rankings import distributions, enumerate_all, most_probable
from padlab.show.plots.style import FAINT, NEUTRAL, STUDENT, TEACHER, Figure, finish, house_style

# Corners of the triangle: top, left, right.
_CORNERS = np.array([[0.0, 1.0], [-np.sqrt(3) / 2, -0.5], [np.sqrt(3) / 2, -0.5]])
# A ranking lies at this weighted mean of the corners of its first, second and third item.
_WEIGHTS = np.array([0.58, 0.31, 0.11])
# An orthonormal view of the permutohedron under which its 24 corners lie well apart: right, up, towards the viewer.
_VIEW = np.array([[-0.564, -0.545, -0.620], [-0.001, -0.751, 0.661], [-0.826, 0.373, 0.422]])


def _draw_ranking(
    axes: Axes, point: np.ndarray, probs: tuple[float, float], scale: float, name: str, **text: Any
) -> None:
    """Two half-discs whose areas are the probabilities, student left and teacher right; the ranking's name below."""
    for prob, angles, colour in zip(probs, ((90, 270), (270, 90)), (STUDENT, TEACHER), strict=True):
        radius = scale * np.sqrt(prob)
        axes.add_patch(
            Wedge(tuple(point), radius, *angles, facecolor=colour, edgecolor="white", linewidth=0.8, zorder=3)
        )
    below = point[1] - scale * np.sqrt(max(probs)) - 0.02
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.text(point[0], below, name, ha="center", va="top", zorder=6, path_effects=halo, **text)


def _draw_legend(axes: Axes, **position: Any) -> None:
    style = {"linestyle": "", "marker": "o", "markersize": 13, "markerfacecoloralt": "none", "markeredgecolor": "none"}
    for model, colour, side in (("student", STUDENT, "left"), ("teacher", TEACHER, "right")):
        axes.plot([], [], color=colour, fillstyle=side, label=f"{model} ({side} half)", **style)
    axes.legend(title="area = probability", alignment="left", loc="upper left", **position)


def _blank_axes(width: float, height: float, key: list[str]) -> tuple[Figure, Axes]:
    """A figure without scales, one inch as long across as up, with the key of the labels below."""
    figure = Figure(width, height + 0.22 * len(key))
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.axis("off")
    if key:
        figure.supxlabel("\n".join(key), x=0.02, ha="left", fontsize="small")
    return figure, axes


def _sentences(models: dict[str, PlackettLuce], names: list[str]) -> tuple[str, str]:
    """The default title and the alt text: each model's most probable ranking, and how far apart the models are."""
    rankings, probs = enumerate_all(models)
    facts = [f"{model} {most_probable(rankings, p, names)} {percent(p.max())}" for model, p in probs.items()]
    text = ", ".join(facts)
    divergence = f"Jensen-Shannon divergence {num(float(js_divergence(*models.values()).value), 3)} nats"
    return (
        f"Most probable ranking: {text}; {divergence}",
        f"{len(rankings)} rankings as points. Most probable: {text}. {divergence}.",
    )


@house_style()
def plot_simplex(
    student_scores: Any, teacher_scores: Any, labels: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """The six rankings of three responses in a triangle: nearer to a corner means ranked higher.

    Each of the six fields is one ranking; the area of a half-disc is the ranking's probability. A cross shows a model's
    probabilities of rank 1 as a point between the corners.

    Args:
        student_scores, teacher_scores: 3 scores each (beta * reward, no unit), finite.
        labels: 3 texts; None names the responses A, B, C.
        title: replaces the title that says what to see.

    Raises:
        ValueError: not exactly 3 scores each, or one that is not finite.

    >>> plot_simplex([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]).alt_text.split(". ")[1]
    'Most probable: student A > B > C 17 %, teacher A > B > C 17 %'
    """
    models = distributions({"student": student_scores, "teacher": teacher_scores}, sizes=[3])
    rankings, probs = enumerate_all(models)
    names, key = item_names(labels, 3)
    figure, axes = _blank_axes(8.0, 6.4, key)
    _draw_triangle(axes, names)
    for ranking, *pair in zip(rankings, probs["student"], probs["teacher"], strict=True):
        _draw_ranking(axes, _WEIGHTS @ _CORNERS[ranking], tuple(pair), 0.25, ">".join(names[i] for i in ranking))
    for model, colour in (("student", STUDENT), ("teacher", TEACHER)):
        point = models[model].top_choice().numpy() @ _CORNERS
        axes.plot(*point, "X", color=colour, markersize=13, markeredgecolor="black", zorder=5)
    axes.plot([], [], "X", color="white", markeredgecolor="black", markersize=11, label="probabilities of rank 1")
    _draw_legend(axes, bbox_to_anchor=(-0.08, 1.0))
    axes.set(xlim=(-1.2, 1.1), ylim=(-0.62, 1.17))
    return finish(figure, title, *_sentences(models, names))


def _draw_triangle(axes: Axes, names: list[str]) -> None:
    """Sides, the three lines on which two items are equally likely to come first, and the names of the corners."""
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        axes.plot(*_CORNERS[[a, b]].T, color=NEUTRAL, linewidth=1.5)
        axes.plot(*np.stack([_CORNERS[c], (_CORNERS[a] + _CORNERS[b]) / 2]).T, color=FAINT, linewidth=1)
    for corner, name in zip(_CORNERS, names, strict=True):
        axes.text(*(corner * 1.13), f"{name} first", ha="center", va="center", fontsize="large", fontweight="bold")


def _solid(rankings: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Corners (24 x 3: right, up, depth) of the permutohedron, and its 36 edges: swaps of neighbouring ranks."""
    ranks = np.argsort(rankings, axis=1).astype(float)
    basis = np.array([[1, -1, 0, 0], [1, 1, -2, 0], [1, 1, 1, -3]], dtype=float)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    edges = [(i, j) for i, j in combinations(range(len(ranks)), 2) if np.abs(ranks[i] - ranks[j]).sum() == 2]
    return (ranks - 1.5) @ basis.T @ _VIEW.T, edges


@house_style()
def plot_permutohedron(
    student_scores: Any, teacher_scores: Any, labels: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """The 24 rankings of four responses as corners of a solid; an edge swaps two neighbours in the ranking.

    Near corners are similar rankings: the number of edges between two is the number of pairs they order differently.
    The area of a half-disc is the ranking's probability.

    Args:
        student_scores, teacher_scores: 4 scores each (beta * reward, no unit), finite.
        labels: 4 texts; None names the responses A, B, C, D.
        title: replaces the title that says what to see.

    Raises:
        ValueError: not exactly 4 scores each, or one that is not finite.

    >>> plot_permutohedron([9.0, 6.0, 3.0, 0.0], [0.0, 3.0, 6.0, 9.0]).alt_text.split(". ")[1]
    'Most probable: student A > B > C > D 86 %, teacher D > C > B > A 86 %'
    """
    models = distributions({"student": student_scores, "teacher": teacher_scores}, sizes=[4])
    rankings, probs = enumerate_all(models)
    names, key = item_names(labels, 4)
    corners, edges = _solid(rankings)
    figure, axes = _blank_axes(9.6, 7.2, key)
    for i, j in edges:
        near = corners[[i, j], 2].mean() > 0
        axes.plot(*corners[[i, j], :2].T, color=NEUTRAL if near else FAINT, linewidth=1.6 if near else 0.9, zorder=near)
    for index in np.argsort(corners[:, 2]):
        pair = (probs["student"][index], probs["teacher"][index])
        colour = "black" if corners[index, 2] > 0 else NEUTRAL
        name = ">".join(names[i] for i in rankings[index])
        _draw_ranking(axes, corners[index, :2], pair, 0.62, name, fontsize="small", color=colour)
    _draw_legend(axes, bbox_to_anchor=(-0.12, 1.0))
    axes.set(xlim=(-2.9, 2.7), ylim=(-2.4, 2.5))
    return finish(figure, title, *_sentences(models, names))
