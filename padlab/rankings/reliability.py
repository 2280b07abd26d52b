"""Are the probabilities of choices right? Accuracy by confidence, and the expected calibration error. Pure tensors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from padlab.rankings.intervals import Interval, wilson_interval


class Reliability(NamedTuple):
    """Choices in bins of equal width over the confidence 0 to 1.

    Args:
        count: number of choices per bin.
        confidence: mean confidence per bin; NaN where the bin is empty.
        accuracy: share of correct choices per bin with its 95 % Wilson interval; NaN where the bin is empty.
        calibration_error: expected calibration error (ECE), 0 to 1: the mean of |accuracy - confidence| over the bins,
            weighted by their count.
        overall: share of correct choices of all bins with its 95 % Wilson interval.
    """

    count: Int[Tensor, " bins"]
    confidence: Float[Tensor, " bins"]
    accuracy: Interval
    calibration_error: float
    overall: Interval


def reliability(
    confidence: Sequence[float] | np.ndarray | Tensor, correct: Sequence | np.ndarray | Tensor, bins: int = 10
) -> Reliability:
    """Compare the confidence of choices with how many of them are correct, bin by bin.

    ECE = sum_b count_b / M * |accuracy_b - confidence_b|

    Args:
        confidence: M probabilities, 0 to 1, each of the choice that was made.
        correct: M values, 1 or True where that choice was correct, else 0 or False.
        bins: number of bins of equal width, at least 1; a confidence of 1 belongs to the last.

    Raises:
        ValueError: no choices, different lengths, a confidence outside 0 to 1, or `correct` other than 0 and 1.

    >>> reliability([0.9, 0.9], [1, 0]).calibration_error
    0.4
    """
    confidence, correct = (torch.as_tensor(values, dtype=torch.float64).cpu() for values in (confidence, correct))
    if confidence.dim() != 1 or confidence.shape != correct.shape or len(confidence) == 0:
        shapes = f"confidence {tuple(confidence.shape)}, correct {tuple(correct.shape)}"
        raise ValueError(f"{shapes}: give one of each per choice")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("confidence: needs probabilities from 0 to 1")
    if not ((correct == 0) | (correct == 1)).all():
        raise ValueError("correct: needs 0 or 1 (False or True) for each choice")
    if bins < 1:
        raise ValueError(f"bins is {bins}: needs at least 1")
    bin_of = (confidence * bins).long().clamp(max=bins - 1)
    count, hits, total = (torch.bincount(bin_of, weights, minlength=bins) for weights in (None, correct, confidence))
    accuracy, mean = wilson_interval(hits, count), total / count  # NaN where a bin is empty
    error = (count * (accuracy.estimate - mean).abs()).nansum() / len(confidence)
    overall = wilson_interval(correct.sum(), count.sum())
    return Reliability(count, mean, accuracy, float(error), overall)
