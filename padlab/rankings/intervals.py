"""An estimate with its interval: of a mean over prompts, of a mean over trainings, of a share."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from scipy.stats import bootstrap
from scipy.stats import t as student_t
from torch import Tensor

RESAMPLES = 4000  # bootstrap resamples of a mean over prompts


class Interval(NamedTuple):
    """An estimate and the interval around it.

    Args:
        estimate: the value from all the data; a float, or a tensor.
        low, high: ends of the interval, of the same type and shape as the estimate.
        count: number of prompts, trials or resamples that the interval rests on; 0 where it is not known.

    >>> print(Interval(0.25, 0.1, 0.4))
    +0.250 [+0.100, +0.400]
    """

    estimate: float | Float[Tensor, "..."]
    low: float | Float[Tensor, "..."]
    high: float | Float[Tensor, "..."]
    count: int = 0

    def __str__(self) -> str:
        if isinstance(self.estimate, Tensor) and self.estimate.numel() != 1:
            return repr(self)
        estimate, low, high = (float(value) for value in self[:3])
        return f"{estimate:+.3f} [{low:+.3f}, {high:+.3f}]"


def mean_interval(values: Sequence[float] | np.ndarray, seed: int = 0) -> Interval:
    """Mean over prompts with its 95 % percentile bootstrap interval.

    Args:
        values: one number per prompt; NaN (undefined for that prompt) is left out.
        seed: of the 4,000 resamples.
    Returns:
        Interval of floats; count = prompts that are not NaN. With fewer than two of them, low and high are NaN.

    >>> print(mean_interval([0.0, 1.0, float("nan"), 2.0]), mean_interval([0.5]).count)
    +1.000 [+0.000, +2.000] 1
    """
    defined = np.asarray(values, float)
    defined = defined[~np.isnan(defined)]
    if len(defined) < 2:
        return Interval(float(defined[0]) if len(defined) else np.nan, np.nan, np.nan, len(defined))
    rng = np.random.default_rng(seed)
    low, high = bootstrap((defined,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=rng).confidence_interval
    return Interval(float(defined.mean()), float(low), float(high), len(defined))


def seed_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean over trainings (seeds) with its 95 % t interval: mean +- t * s / sqrt(N).

    s is the standard deviation with N - 1 in the denominator, t the 97.5 % quantile of Student's distribution with
    N - 1 degrees of freedom. With few trainings s is itself uncertain; t is larger than 1.96 for that reason.

    Args:
        values: one number per training, N of them; for instance the mean change over the held-out prompts.
    Returns:
        Interval of floats; count = N. Only the variation between trainings is in it: held-out prompts that all
        trainings share add none.
    Raises:
        ValueError: fewer than two trainings, or more than one number per training.

    >>> print(seed_interval([0.21, 0.25, 0.22, 0.24]))
    +0.230 [+0.201, +0.259]
    """
    values = np.asarray(values, float)
    if values.ndim != 1:
        raise ValueError(
            f"values of shape {values.shape}: expected one number per training; take the mean over prompts"
        )
    if len(values) < 2:
        raise ValueError(f"{len(values)} training(s): an interval over trainings needs at least two; train more seeds")
    mean, half = values.mean(), student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return Interval(float(mean), float(mean - half), float(mean + half), len(values))


def wilson_interval(
    successes: Float[Tensor, "*shares"], trials: Shaped[Tensor, "*shares"] | int, level: float = 0.95
) -> Interval:
    """Shares of successes, each with its Wilson score interval for a binomial proportion.

    Args:
        successes: number of successes; one number or several.
        trials: number of trials; NaN results where there are none.
        level: confidence level, between 0 and 1.
    Returns:
        Interval of the shares; each stays inside 0 .. 1, also where all trials agree. count = all trials together.

    >>> str(wilson_interval(torch.tensor(3.0), 4))
    '+0.750 [+0.301, +0.954]'
    """
    z = torch.special.ndtri(torch.tensor((1 + level) / 2, dtype=successes.dtype, device=successes.device))
    trials = torch.as_tensor(trials, device=successes.device)
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half_width = z / (1 + z**2 / trials) * (share * (1 - share) / trials + z**2 / (4 * trials**2)).sqrt()
    return Interval(share, centre - half_width, centre + half_width, int(trials.sum()))


def share_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean of numbers from 0 to 1 as a share of successes (0.5: a tie), with its 95 % Wilson interval, as floats.

    Unlike the bootstrap's, this interval has a width also where all values agree.

    >>> print(share_interval([1.0, 1.0, 1.0, 1.0]))  # low: 4 / (4 + 1.96^2)
    +1.000 [+0.510, +1.000]
    """
    successes = torch.tensor(float(np.sum(values)), dtype=torch.float64)
    ends = (float(end.clamp(0, 1)) for end in wilson_interval(successes, len(values))[:3])  # rounding: -1e-17
    return Interval(*ends, len(values))
