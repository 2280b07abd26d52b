"""Rankings as places: the triangle of n = 3 and the permutohedron of n = 4, both models as half-discs."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Wedge
from matplotlib.patheffects import withStroke

from padlab.show.plots.rankings import enumerate_scores
from padlab.show.plots.style import FAINT, NEUTRAL, STUDENT, TEACHER, Figure, finish, house_style, item_names, percent

# Corners of the triangle: top, left, right.
_CORNERS = np.array([[0.0, 1.0], [-np.sqrt(3) / 2, -0.5], [np.sqrt(3) / 2, -0.5]])
# Where a ranking lies between the corners of its items: its first, second and third item weigh so much.
_WEIGHTS = np.array([0.58, 0.31, 0.11])
# An orthonormal view of the permutohedron under which its 24 corners lie well apart: right, up, towards the eye.
_VIEW = np.array([[-0.564, -0.545, -0.620], [-0.001, -0.751, 0.661], [-0.826, 0.373, 0.422]])


def _half_discs(axes: Axes, place: np.ndarray, teacher: Any, student: Any, scale: float, depth: int = 3) -> None:
    """Left half for the teacher, right half for the student; the areas are the probabilities."""
    for share, angles, colour in ((teacher, (90, 270), TEACHER), (student, (270, 90), STUDENT)):
        wedge = Wedge(tuple(place), scale * np.sqrt(share), *angles, facecolor=colour, edgecolor="white", linewidth=0.8)
        axes.add_patch(wedge).set_zorder(depth)


def _name(axes: Axes, place: np.ndarray, text: str, drop: Any, **looks: Any) -> None:
    """The ranking's name below its half-discs, legible on any ground."""
    halo = [withStroke(linewidth=3, foreground="white")]
    axes.text(
        place[0],
        place[1] - drop - 0.02,
        text,
        ha="center",
        va="top",
        zorder=6,
        path_effects=halo,
        **looks,
    )


def _legend(axes: Axes, **where: Any) -> None:
    looks = {"linestyle": "", "marker": "o", "markersize": 13, "markerfacecoloralt": "none", "markeredgecolor": "none"}
    for who, colour, side in (("teacher", TEACHER, "left"), ("student", STUDENT, "right")):
        axes.plot([], [], color=colour, fillstyle=side, label=f"{who} ({side} half)", **looks)
    axes.legend(title="area = probability", alignment="left", **where)


def _check(n: int, wanted: int, name: str, other: str) -> None:
    if n != wanted:
        raise ValueError(f"{name}: {n} responses, but it draws exactly {wanted}; use {other}")


def _sentence(rankings: np.ndarray, probs: dict[str, np.ndarray], names: list[str]) -> tuple[str, str]:
    """The default title and the alt text: where each model puts most of its probability."""
    facts = []
    for who in ("teacher", "student"):
        first = " > ".join(names[i] for i in rankings[probs[who].argmax()])
        facts.append(f"{who} {first} {percent(probs[who].max())}")
    overlap = percent(np.minimum(probs["teacher"], probs["student"]).sum())
    text = ", ".join(facts)
    return (
        f"Likeliest ranking: {text}; overlap {overlap}",
        f"{len(rankings)} rankings as points. Likeliest: {text}. Overlap {overlap}.",
    )


@house_style()
def plot_simplex(student: Any, teacher: Any, labels: Sequence[str] | None = None, title: str | None = None) -> Figure:
    """The six rankings of three responses in a triangle: nearer to a corner means ranked higher.

    Each small field is one ranking; its half-discs have the area of the ranking's probability. A cross marks each
    model's chances of first rank as a point between the corners.

    Args:
        student, teacher: 3 scores each (beta x reward, no unit), finite.
        labels: 3 texts; None names the responses A, B, C.
        title: replaces the title that says what to see.

    Raises:
        ValueError: not exactly 3 scores each, or one that is not finite.

    >>> plot_simplex([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]).alt_text
    '6 rankings as points. Likeliest: teacher A > B > C 17 %, student A > B > C 17 %. Overlap 100 %.'
    """
    rankings, probs = enumerate_scores(teacher=teacher, student=student)
    _check(rankings.shape[1], 3, "plot_simplex", "plot_permutohedron for 4 and plot_rankings for any")
    names, key = item_names(labels, 3)
    figure = Figure(8.0, 6.4 + 0.22 * len(key))
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.axis("off")
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        axes.plot(*_CORNERS[[a, b]].T, color=NEUTRAL, linewidth=1.5)
        axes.plot(*np.stack([_CORNERS[c], (_CORNERS[a] + _CORNERS[b]) / 2]).T, color=FAINT, linewidth=1)
    for i, name in enumerate(names):
        axes.text(*(_CORNERS[i] * 1.13), f"{name} first", ha="center", va="center", fontsize=15, fontweight="bold")
    for ranking, teacher_p, student_p in zip(rankings, probs["teacher"], probs["student"], strict=True):
        place = _WEIGHTS @ _CORNERS[ranking]
        _half_discs(axes, place, teacher_p, student_p, scale=0.25)
        drop = 0.25 * np.sqrt(max(teacher_p, student_p))
        _name(axes, place, ">".join(names[i] for i in ranking), drop)
    for who, colour in (("teacher", TEACHER), ("student", STUDENT)):
        first = np.array([probs[who][rankings[:, 0] == i].sum() for i in range(3)])
        axes.plot(*(first @ _CORNERS), "X", color=colour, markersize=13, markeredgecolor="black", zorder=5)
    axes.plot([], [], "X", color="white", markeredgecolor="black", markersize=11, label="chances of first rank")
    _legend(axes, loc="upper left", bbox_to_anchor=(-0.08, 1.0))
    axes.set(xlim=(-1.2, 1.1), ylim=(-0.62, 1.17))
    if key:
        figure.supxlabel("\n".join(key), x=0.02, ha="left", fontsize=12)
    return finish(figure, title, *_sentence(rankings, probs, names))


def _solid(rankings: np.ndarray) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Corners (24 x 3: right, up, depth) of the permutohedron, and its 36 edges: swaps of neighbouring ranks."""
    ranks = np.argsort(rankings, axis=1).astype(float)
    basis = np.array([[1, -1, 0, 0], [1, 1, -2, 0], [1, 1, 1, -3]], dtype=float)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    edges = [(i, j) for i, j in combinations(range(len(ranks)), 2) if np.abs(ranks[i] - ranks[j]).sum() == 2]
    return (ranks - 1.5) @ basis.T @ _VIEW.T, edges


@house_style()
def plot_permutohedron(
    student: Any, teacher: Any, labels: Sequence[str] | None = None, title: str | None = None
) -> Figure:
    """The 24 rankings of four responses as corners of a solid; an edge swaps two neighbours in the ranking.

    Near corners are similar rankings: the number of edges between two is the number of pairs they order differently.
    The half-discs have the area of the ranking's probability.

    Args:
        student, teacher: 4 scores each (beta x reward, no unit), finite.
        labels: 4 texts; None names the responses A, B, C, D.
        title: replaces the title that says what to see.

    Raises:
        ValueError: not exactly 4 scores each, or one that is not finite.

    >>> plot_permutohedron([9.0, 6.0, 3.0, 0.0], [0.0, 3.0, 6.0, 9.0]).alt_text
    '24 rankings as points. Likeliest: teacher D > C > B > A 86 %, student A > B > C > D 86 %. Overlap <1 %.'
    """
    rankings, probs = enumerate_scores(teacher=teacher, student=student)
    _check(rankings.shape[1], 4, "plot_permutohedron", "plot_simplex for 3 and plot_rankings for any")
    names, key = item_names(labels, 4)
    corners, edges = _solid(rankings)
    figure = Figure(9.6, 7.2 + 0.22 * len(key))
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.axis("off")
    for i, j in edges:
        near = corners[[i, j], 2].mean() > 0
        axes.plot(*corners[[i, j], :2].T, color=NEUTRAL if near else FAINT, linewidth=1.6 if near else 0.9, zorder=near)
    for index in np.argsort(corners[:, 2]):
        teacher_p, student_p = probs["teacher"][index], probs["student"][index]
        _half_discs(axes, corners[index, :2], teacher_p, student_p, scale=0.62)
        drop = 0.62 * np.sqrt(max(teacher_p, student_p))
        ink = "black" if corners[index, 2] > 0 else NEUTRAL
        _name(axes, corners[index, :2], ">".join(names[i] for i in rankings[index]), drop, fontsize=11, color=ink)
    _legend(axes, loc="upper left", bbox_to_anchor=(-0.12, 1.0))
    axes.set(xlim=(-2.9, 2.7), ylim=(-2.4, 2.5))
    if key:
        figure.supxlabel("\n".join(key), x=0.02, ha="left", fontsize=12)
    return finish(figure, title, *_sentence(rankings, probs, names))
