"""All n! rankings with their log-probabilities, in lexicographic order.

The rankings of a set of items are: each item first, followed by every ranking of the others. So the log-probabilities
of the rankings of all sets of m items come from those of m - 1 items by one addition each. That makes about e * n!
additions in all, against n * n! exponentials for masked logsumexps over an array [batch, n!, n].
"""

from functools import lru_cache
from math import comb, factorial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from padlab.rankings.subsets import step_log_probs, subset_level

ENUMERATION_LIMIT = 10  # items: 10! = 3,628,800 rankings
ENTRY_LIMIT = 2**28  # rows x rankings in one tensor: 2 GiB in float64


def check_enumerable(items: int, rows: int = 1) -> None:
    """Check that all rankings can be enumerated in memory.

    Args:
        items: n, the number of items.
        rows: number of distributions in the batch.
    Raises:
        ValueError: n above 10, or too many rows for one tensor; the message says what to do instead.

    >>> check_enumerable(8, rows=100)
    """
    count = factorial(items)
    if items > ENUMERATION_LIMIT:
        raise ValueError(
            f"{items} items have {count:,} rankings: enumeration stops at {ENUMERATION_LIMIT} items. Entropy, KL and "
            "rank marginals are exact up to n = 20 without it, and js_divergence(method='sampled') works at any n"
        )
    if rows * count > ENTRY_LIMIT:
        raise ValueError(f"{rows} rows x {count:,} rankings do not fit in one tensor: split the batch")


def ranking_log_probs(
    scores: Float[Tensor, "rows items"], dtype: torch.dtype | None = None
) -> Float[Tensor, "rows rankings"]:
    """Log-probabilities of all rankings in lexicographic order, rows x n!, nats.

    Args:
        scores: rows x n.
        dtype: dtype of the result, by default that of the scores. Each step is rounded to it; all steps are <= 0, so
            that their sum does not cancel.
    Raises:
        ValueError: n above 10, or too many rows for one tensor.

    >>> ranking_log_probs(torch.tensor([[0.0, 0.0]])).exp()  # two rankings of two equal items
    tensor([[0.5000, 0.5000]])
    """
    rows, items = scores.shape
    check_enumerable(items, rows)
    smallest = min(1, items - 1)  # a single item that is left comes next with certainty
    log_probs = scores.new_zeros(rows, comb(items, smallest), 1, dtype=dtype)  # rows x sets x rankings of a set
    for size in range(smallest + 1, items + 1):
        members, children = subset_level(items, size, scores.device)
        step = step_log_probs(scores, members).to(log_probs.dtype)
        if size < items:  # for the full set, the smaller sets are in order already
            log_probs = log_probs.index_select(1, children.flatten())
        log_probs = (step[..., None] + log_probs.view(*step.shape, log_probs.shape[-1])).flatten(2)
    return log_probs[:, 0]


def all_rankings(items: int, device: torch.device | None = None) -> Int[Tensor, "rankings items"]:
    """All permutations of 0 .. n-1, best first, in lexicographic order; n! x n, int64.

    Args:
        items: n, at most 10.
        device: of the result; None is the CPU.

    Raises:
        ValueError: n above 10.

    >>> all_rankings(3).tolist()
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    """
    check_enumerable(items)
    return _make_rankings(items).to(device=device or "cpu", dtype=torch.long)


@lru_cache
def _make_rankings(items: int) -> Tensor:
    """The rankings in int8, 36 MB for 10 items."""
    if items == 0:
        return torch.zeros(1, 0, dtype=torch.int8, device="cpu")
    rest = _make_rankings(items - 1)
    first = torch.arange(items, dtype=torch.int8, device="cpu")[:, None, None]
    rest = rest + (rest >= first)  # the other items in ascending order, without the first
    return torch.cat([first.expand(-1, rest.shape[1], 1), rest], -1).flatten(0, 1)
