"""Estimates with their intervals, drawn by seaborn: a line with a band or bars, and a single point.

seaborn computes intervals from raw values; padlab's are already computed (`padlab.rankings.intervals`). So seaborn
gets three values per point, low, estimate and high: their median is the estimate, and their range is the interval.
"""

from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from padlab.show.arrays import array

_OF_THREE = {"estimator": "median", "errorbar": ("pi", 100)}
_BAND_LOOK = {"alpha": 0.18, "linewidth": 0}
_BAR_LOOK = {"capsize": 5, "capthick": 2}


def interval_arrays(
    estimate: Any, low: Any, high: Any, ndim: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimates and the ends of their intervals as arrays of one shape, low <= estimate <= high.

    Args:
        estimate, low, high: the numbers; rounding errors up to 1e-9 of the largest estimate are corrected.
        ndim: the required number of dimensions; None: any.

    Raises:
        ValueError: different shapes, a value that is not finite, or an estimate outside its interval.

    >>> interval_arrays([0.1], [0.0], [0.3])
    (array([0.1]), array([0.]), array([0.3]))
    """
    named = {"estimate": estimate, "low": low, "high": high}
    estimate, low, high = (array(values, name, ndim) for name, values in named.items())
    if not estimate.shape == low.shape == high.shape:
        raise ValueError(f"estimate, low, high must have one shape: {estimate.shape}, {low.shape}, {high.shape}")
    rounding = 1e-9 * np.abs(estimate).max()
    outside = (low > estimate + rounding) | (estimate > high + rounding)
    if outside.any():
        value, *ends = (values[outside][0] for values in (estimate, low, high))
        raise ValueError(f"the estimate {value:g} is outside its interval [{ends[0]:g}, {ends[1]:g}]")
    return estimate, np.minimum(low, estimate), np.maximum(high, estimate)


def draw_line(
    axes: Axes, x: np.ndarray, estimate: np.ndarray, low: np.ndarray, high: np.ndarray, bars: bool = False, **style: Any
) -> None:
    """A line through the estimates, with a band from low to high, or with a bar at each of them.

    Args:
        axes: where to draw.
        x: K positions, different from each other.
        estimate, low, high: K values each.
        bars: draw bars in place of the band.
        style: colour, marker, label, ... of the line.
    """
    look = {"err_kws": _BAR_LOOK | {"elinewidth": 1.5}, "err_style": "bars"} if bars else {"err_kws": _BAND_LOOK}
    sns.lineplot(x=np.tile(x, 3), y=np.concatenate([low, estimate, high]), ax=axes, **_OF_THREE, **look, **style)


def draw_point(axes: Axes, estimate: float, low: float, high: float, at: float = 0.0, **style: Any) -> None:
    """One estimate at a height, with a horizontal bar from low to high."""
    # sns.pointplot would keep each figure in memory: it calls Line2D.properties(), which matplotlib caches without end.
    look = {"err_kws": _BAR_LOOK | {"elinewidth": 3}, "err_style": "bars", "orient": "y"}
    sns.lineplot(x=[low, estimate, high], y=[at, at, at], ax=axes, **_OF_THREE, **look, **style)
