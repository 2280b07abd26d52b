"""Checked input of figures and cards: numbers from lists, arrays, dataset columns and tensors, as float64 arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def array(values: Any, name: str, ndim: int | None = None, finite: bool = True) -> np.ndarray:
    """Numbers from a list, an array, a datasets column or a tensor of any type and device, as float64.

    Args:
        values: the numbers.
        name: the argument's name, for the message.
        ndim: the required number of dimensions; None: any.
        finite: whether NaN and infinite values are refused.

    Raises:
        ValueError: not numbers, empty, another number of dimensions, or a value that is not finite.

    >>> array([1, 2], "x", ndim=1)
    array([1., 2.])
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    try:
        result = np.asarray(values if hasattr(values, "dtype") else list(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: needs a rectangular array of numbers ({error})") from None
    if result.size == 0 or (ndim is not None and result.ndim != ndim):
        raise ValueError(f"{name}: needs {ndim or 'one or more'} dimension(s) and a value, got shape {result.shape}")
    if finite and not np.isfinite(result).all():
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise ValueError(f"{name}: the value at {index} is {result[index]}; leave it out or compute it again")
    return result


def probabilities(values: Any, name: str, ndim: int = 1) -> np.ndarray:
    """Like `array`, for values from 0 to 1; rounding errors up to 1e-6 outside are cut off.

    Raises:
        ValueError: as `array`, or a value that is not a probability.

    >>> probabilities([0.25, 1.0000001], "x")
    array([0.25, 1.  ])
    """
    result = array(values, name, ndim)
    if result.min() < -1e-6 or result.max() > 1 + 1e-6:
        raise ValueError(f"{name}: needs probabilities from 0 to 1, got {result.min():g} to {result.max():g}")
    return result.clip(0, 1)


def rising(values: Any, name: str, highest: float = np.inf) -> np.ndarray:
    """Like `array`, for strictly rising values from 0 to `highest`.

    Raises:
        ValueError: as `array`, or values that do not rise or lie outside the range.

    >>> rising([0, 0.5, 1], "alphas", highest=1.0)
    array([0. , 0.5, 1. ])
    """
    result = array(values, name, ndim=1)
    if result.min() < 0 or result.max() > highest or (np.diff(result) <= 0).any():
        limit = f"from 0 to {highest:g}" if np.isfinite(highest) else "of 0 or more"
        raise ValueError(f"{name}: needs strictly rising values {limit}")
    return result


def same_length(**arrays: Sequence | np.ndarray) -> int:
    """The common length of the named arrays or lists; ValueError with all lengths when they differ.

    >>> same_length(before=[1, 2], after=[3, 4])
    2
    """
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"these must have the same length: {lengths}")
    return next(iter(lengths.values()))
