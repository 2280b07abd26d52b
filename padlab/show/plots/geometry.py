"""Rankings as points in a plane: a triangle for n = 3, the permutohedron for n = 4; both models as half-discs."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Wedge
from matplotlib.patheffects import withStroke

from padlab.rankings.large_n import js_divergence
from padlab.show.html.safe import num
from padlab.show.plots.labels import item_names, percent
from padlab.show.plots.rankings import distributions, enumerate_all
from padlab.show.plots.style import FAINT, NEUTRAL, STUDENT, TEACHER, Figure, finish, house_style, key_height

# Corners of the triangle: top, left, right.
_CORNERS = np.array([[0.0, 1.0], [-np.sqrt(3) / 2, -0.5], [np.sqrt(3) / 2, -0.5]])
# A ranking lies at this weighted mean of the corners of its first, second and third item.
_WEIGHTS = np.array([0.58, 0.31, 0.11])
_HEIGHT = 5.4  # inches, with the key below: a slide shows the figure with its explanation
# An orthonormal view of the permutohedron under which its 24 corners lie well apart: right, up, towards the viewer.
_VIEW = np.array([[-0.564, -0.545, -0.620], [-0.001, -0.751, 0.661], [-0.826, 0.373, 0.422]])


def _models(
    student_scores: Any, teacher_scores: Any, names: list[str]
) -> tuple[np.ndarray, list[str], dict[str, np.ndarray], str]:
    """All rankings as indices and as texts, their probabilities under each model, and in words what to see."""
    models = distributions({"student": student_scores, "teacher": teacher_scores}, sizes=[len(names)])
    rankings, probs = enumerate_all(models)
    texts = [">".join(names[i] for i in ranking) for ranking in rankings]
    finding = "most probable: "
    finding += ", ".join(f"{model} {texts[p.argmax()]} {percent(p.max())}" for model, p in probs.items())
    divergence = float(js_divergence(*models.values()).value)
    return rankings, texts, probs, f"{finding}; Jensen-Shannon divergence {num(divergence, 3)} nats"


def _covered(low: np.ndarray, high: np.ndarray, other_low: np.ndarray, other_high: np.ndarray) -> float:
    """Area that two boxes have in common."""
    return float(np.prod(np.clip(np.minimum(high, other_high) - np.maximum(low, other_low), 0, None)))


def _blank_axes(width: float, key: Sequence[str]) -> tuple[Figure, Axes]:
    """A figure without scales, one inch as long across as up, as high with the key as without."""
    figure = Figure(width, _HEIGHT - key_height(key))
    ax = figure.add_subplot()
    ax.set_aspect("equal")
    ax.axis("off")
    return figure, ax


def _draw_half_discs(
    ax: Axes,
    points: np.ndarray,
    texts: list[str],
    probs: dict[str, np.ndarray],
    scale: float,
    limits: Sequence[Sequence[float]] | np.ndarray,
    least: float = 0.0,
) -> None:
    """At each ranking's point two half-discs whose areas are its probabilities, student left and teacher right.

    All lies inside the axes: `limits` has the coordinates along x and y of what else there is. A label stands below its
    discs. Where `least` is above 0, a ranking less probable than this under both models has no label, and the others'
    labels stand above or beside their discs where they cover less there.
    """
    largest = np.maximum(probs["student"], probs["teacher"])
    radii = scale * np.sqrt(largest)[:, None]
    boxes = list(np.stack([points - radii, points + radii], 1))  # of the discs, then also of the labels
    for point, *shares in zip(points, probs["student"], probs["teacher"], strict=True):
        for share, colour, angles in zip(shares, (STUDENT, TEACHER), ((90, 270), (270, 90)), strict=True):
            look = {"facecolor": colour, "edgecolor": "white", "linewidth": 0.8, "zorder": 3, "clip_on": False}
            ax.add_patch(Wedge(tuple(point), scale * np.sqrt(share), *angles, **look))
    inch = 1.3 * np.ptp(limits[1]) / ax.figure.get_figheight()  # in units of the axes; the title takes the rest
    size = matplotlib.rcParams["font.size"] / 72 * inch
    halo = [withStroke(linewidth=3, foreground="white")]
    for k in np.argsort(-largest, kind="stable"):
        if largest[k] < least:
            continue
        half = np.array([0.33 * size * len(texts[k]), 0.45 * size])
        away = radii[k] + half + 0.1 * size
        spots = points[k] + away * np.array([[0, -1], [0, 1], [-1, 0], [1, 0]])
        spots = spots if least else spots[:1]
        spot = min(spots, key=lambda at: sum(_covered(at - half, at + half, *box) for box in boxes))
        boxes.append(np.stack([spot - half, spot + half]))
        ax.text(*spot, texts[k], ha="center", va="center", fontsize="small", zorder=6, path_effects=halo)
    low, high = np.min(boxes, axis=(0, 1)), np.max(boxes, axis=(0, 1))
    xlim, ylim = ((min(low[i], *limits[i]), max(high[i], *limits[i])) for i in (0, 1))
    ax.set(xlim=xlim, ylim=ylim)
    disc = {"linestyle": "", "marker": "o", "markersize": 13, "markerfacecoloralt": "none", "markeredgecolor": "none"}
    for model, colour, side in (("student", STUDENT, "left"), ("teacher", TEACHER, "right")):
        ax.plot([], [], color=colour, fillstyle=side, label=f"{model} ({side} half)", **disc)
    ax.legend(title="area = probability", alignment="left", loc="upper right", bbox_to_anchor=(0.0, 1.0))


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
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: not exactly 3 scores each, or one that is not finite.

    >>> plot_simplex([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    <Figure: 6 rankings as points. Most probable: student A>B>C 17 %, teacher A>B>C 17 %; Jensen-Shannon divergence \
0.000 nats.>
    """
    names, key = item_names(labels, 3)
    rankings, texts, probs, finding = _models(student_scores, teacher_scores, names)
    figure, ax = _blank_axes(8.0, key)
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):  # a side, and the line on which its ends are equally likely first
        ax.plot(*_CORNERS[[a, b]].T, color=NEUTRAL, linewidth=1.5)
        ax.plot(*np.stack([_CORNERS[c], (_CORNERS[a] + _CORNERS[b]) / 2]).T, color=FAINT, linewidth=1)
        ax.text(*(1.13 * _CORNERS[a]), f"{names[a]} first", ha="center", va="center", fontweight="bold")
    for model, colour in (("student", STUDENT), ("teacher", TEACHER)):
        rank_1 = probs[model] @ _CORNERS[rankings[:, 0]]
        ax.plot(*rank_1, "X", color=colour, markersize=13, markeredgecolor="black", zorder=5)
    ax.plot([], [], "X", color="white", markeredgecolor="black", markersize=11, label="probabilities of rank 1")
    _draw_half_discs(ax, _WEIGHTS @ _CORNERS[rankings], texts, probs, 0.25, [(-1.2, 1.1), (-0.62, 1.17)])
    return finish(figure, title, finding, "6 rankings as points", key)


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
    The area of a half-disc is the ranking's probability. Rankings to which neither model gives 2 % have no label.

    Args:
        student_scores, teacher_scores: 4 scores each (beta * reward, no unit), finite.
        labels: 4 texts; None names the responses A, B, C, D.
        title: replaces the title that says what to see; "": none.

    Raises:
        ValueError: not exactly 4 scores each, or one that is not finite.

    >>> plot_permutohedron([9.0, 6.0, 3.0, 0.0], [0.0, 3.0, 6.0, 9.0])
    <Figure: 24 rankings as points. Most probable: student A>B>C>D 86 %, teacher D>C>B>A 86 %; Jensen-Shannon \
divergence 0.693 nats.>
    """
    names, key = item_names(labels, 4)
    rankings, texts, probs, finding = _models(student_scores, teacher_scores, names)
    corners, edges = _solid(rankings)
    figure, ax = _blank_axes(9.6, key)
    for i, j in edges:
        near = corners[[i, j], 2].mean() > 0
        ax.plot(*corners[[i, j], :2].T, color=NEUTRAL if near else FAINT, linewidth=1.6 if near else 0.9, zorder=near)
    _draw_half_discs(ax, corners[:, :2], texts, probs, 0.62, corners[:, :2].T, least=0.02)
    return finish(figure, title, finding, "24 rankings as points", key)
