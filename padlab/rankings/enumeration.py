"""All n! rankings, or all their prefixes, with their log-probabilities, in lexicographic order.

The orders of a set S are: each member first, followed by each order of the rest. So the log-probabilities
of the orders of all sets of m items come from those of m - 1 items by one addition each: about e * n!
additions in all, against n * n! exponentials for masked logsumexps over [batch, n!, n].
"""

from functools import lru_cache
from math import comb, perm

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from padlab.rankings.subsets import step_log_probs, subset_level

ENUMERATION_LIMIT = 10  # 10! = 3,628,800 rankings
PREFIX_LIMIT = 4_000_000  # as many prefixes as 10! at most
KEPT_RANKINGS = 9  # tables of rankings up to 9 items are kept, 3 MB in int8
CELL_LIMIT = 2**28  # batch x rankings in one tensor: 2 GiB in float64


def check_enumerable(items: int, length: int | None = None, rows: int = 1) -> None:
    """Refuse enumerations that do not fit in memory.

    Raises:
        ValueError: too many rankings (n above 10) or too many rows for one tensor, with what to do instead.
    """
    count = perm(items, items if length is None else length)
    if count > PREFIX_LIMIT:
        raise ValueError(
            f"{items} items have {count:,} rankings{'' if length is None else f' of length {length}'}: enumeration "
            f"stops at {PREFIX_LIMIT:,} (n = {ENUMERATION_LIMIT}). Entropy, KL and rank marginals are exact up to "
            "n = 20 without it, and js_divergence(method='sampled') works at any n"
        )
    if rows * count > CELL_LIMIT:
        raise ValueError(f"{rows} rows x {count:,} rankings do not fit in one tensor: split the batch")


def ranking_log_probs(
    scores: Float[Tensor, "rows items"],
    mask: Bool[Tensor, "rows items"] | None = None,
    length: int | None = None,
    dtype: torch.dtype | None = None,
) -> Float[Tensor, "rows rankings"]:
    """Log-probabilities of all rankings, or of all prefixes of `length` items, in lexicographic order.

    Args:
        scores: rows x n.
        mask: True where the item exists; rankings that do not end in the absent items get about -1e30.
        length: number of leading items, 1 to n; None for full rankings.
        dtype: dtype of the result. One step is rounded to it; the steps, all <= 0, add without cancellation.
    Returns:
        rows x n!/(n - length)!
    """
    items = scores.shape[-1]
    shortest = items - (items if length is None else length)
    shortest = max(shortest, min(1, items - 1))  # the last item is certain
    orders = scores.new_zeros(len(scores), comb(items, shortest), 1, dtype=dtype)
    for size in range(shortest + 1, items + 1):
        members, children = subset_level(items, size, scores.device)
        step = step_log_probs(scores, mask, members).to(orders.dtype)
        rest = orders if size == items else orders.index_select(1, children.flatten())  # the full set's are in order
        orders = (step[..., None] + rest.view(*step.shape, rest.shape[-1])).flatten(2)
    return orders[:, 0]


def all_rankings(items: int, device: torch.device | None = None) -> Int[Tensor, "rankings items"]:
    """All permutations of 0 .. n-1, best first, in lexicographic order; n! x n, int64.

    Raises:
        ValueError: n above 10.
    """
    check_enumerable(items)
    return (_cached_rankings(items) if items <= KEPT_RANKINGS else _make_rankings(items)).to(
        device=device or "cpu", dtype=torch.long
    )


def _make_rankings(items: int) -> Tensor:
    if items == 0:
        return torch.zeros(1, 0, dtype=torch.int8, device="cpu")
    rest = _make_rankings(items - 1)
    first = torch.arange(items, dtype=torch.int8, device="cpu")[:, None, None]
    rest = rest + (rest >= first)  # the remaining items in ascending order, skipping the first
    return torch.cat([first.expand(-1, rest.shape[1], 1), rest], -1).flatten(0, 1)


_cached_rankings = lru_cache(maxsize=8)(_make_rankings)
