"""Two numbers of many responses against each other, with the rank correlation of each model."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.stats import ConstantInputWarning, bootstrap, spearmanr

from padlab.show.arrays import array, same_length
from padlab.show.plots.labels import label
from padlab.show.plots.style import STUDENT, TEACHER, Figure, axes, finish, house_style, legend_above

LOOKS = {"student": (STUDENT, "o"), "teacher": (TEACHER, "s")}
RESAMPLES = 500


@house_style()
def plot_scatter(x: Any, ys: Mapping[str, Any], x_label: str, y_label: str, title: str | None = None) -> Figure:
    """Points of the student and the teacher, and Spearman's rank correlation with its bootstrap interval.

    Args:
        x: n numbers.
        ys: "student" and/or "teacher" -> n numbers each.
        x_label, y_label: quantity and unit.
        title: replaces the title that gives the correlations.

    Raises:
        ValueError: fewer than 3 points, different lengths, another model's name, or a value that is not finite.

    >>> plot_scatter([1, 2, 3, 4], {"teacher": [1, 2, 3, 4]}, "length, tokens", "reward").alt_text.startswith("Reward")
    True
    """
    points = {name: array(values, name, ndim=1) for name, values in ys.items()}
    x = array(x, "x", ndim=1)
    if same_length(x=x, **points) < 3 or not points.keys() <= LOOKS.keys():
        raise ValueError(f"needs 3 points or more of 'student' or 'teacher', got {len(x)} of {', '.join(points)}")
    figure, ax = axes(7.6, 5.0, grid="both")
    found = []
    for name, y in points.items():
        colour, marker = LOOKS[name]
        ax.plot(x, y, marker, color=colour, markersize=6, alpha=0.55, label=name, markeredgewidth=0)
        found.append(f"{name} {_correlation(x, y)}")
    ax.set_xlabel(label(x_label, 60))
    ax.set_ylabel(label(y_label, 60))
    legend_above(ax)
    what = f"{y_label.partition(',')[0]} against {x_label.partition(',')[0]}"
    finding = f"{what}: rank correlation {'; '.join(found)}"
    return finish(figure, title, finding, f"{what[:1].upper()}{what[1:]} of {len(x)} responses")


def _correlation(x: np.ndarray, y: np.ndarray) -> str:
    """Spearman's rho with its 95 % percentile bootstrap interval over the points."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return "undefined"
    rho = lambda a, b: np.nan_to_num(spearmanr(a, b).statistic)  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)  # a resample may hold one value only
        ends = _bootstrap_ends(x, y, rho)
    return f"{rho(x, y):+.2f} [{ends.low:+.2f}, {ends.high:+.2f}]"


def _bootstrap_ends(x: np.ndarray, y: np.ndarray, rho: Callable) -> Any:
    return bootstrap(
        (x, y),
        rho,
        paired=True,
        vectorized=False,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
