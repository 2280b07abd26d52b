"""Exact sums over the 2^n subsets of n items: entropy, KL and rank marginals in O(n 2^n) instead of O(n!).

A ranking is drawn best item first, and the next draw depends only on the set S of items that remain. So a sum over
n! rankings becomes a sum over sets S: Q(S), the probability that exactly S remains at some point, times the
contribution of one draw from S (dynamic programming from the full set down to single items).
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import chain, combinations
from math import comb

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

SUBSET_LIMIT = 20  # items: n 2^(n-1) = 10.5 million draws at n = 20
INT64_LIMIT = 2**16  # cached index tables up to this size are int64 (faster to index with), larger ones int32
CHUNK_DRAWS = 2**17  # rows x draws processed at once; larger levels are recomputed in the backward pass


def subset_level(
    items: int, size: int, device: torch.device
) -> tuple[Int[Tensor, "sets size"], Int[Tensor, "sets size"]]:
    """All sets of `size` items out of `items`, and the index of each set that is left when one item is removed.

    Args:
        items: n, the number of items.
        size: number of items in each set, 1 to n.
        device: device of the result.
    Returns:
        members: the items of each set in ascending order, (n choose size) x size.
        children: for each member, the index of the set without it in the table of the next smaller size; same shape.

    >>> subset_level(3, 2, torch.device("cpu"))[0].tolist()
    [[1, 2], [0, 2], [0, 1]]
    """
    members, children = _level_tables(items, size, device)
    return members.long(), children.long()  # torch indexes about four times faster with int64 than with int32


@lru_cache(maxsize=64)  # levels; the 20 levels of 20 items take 84 MB
def _level_tables(items: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    members = _sets(items, size)
    codes = (1 << members).sum(-1, keepdim=True)  # a set as a number: bit i is set where it has item i
    index_of = torch.zeros(2**items, dtype=torch.long, device="cpu")
    index_of[(1 << _sets(items, size - 1)).sum(-1)] = torch.arange(comb(items, size - 1), device="cpu")
    children = index_of[codes - (1 << members)]
    dtype = torch.int32 if members.numel() > INT64_LIMIT else torch.int64
    return members.to(device, dtype), children.to(device, dtype)


def _sets(items: int, size: int) -> Tensor:
    """All sets of `size` items, each in ascending order; the set without item 0 comes first, the one without the last
    item last (descending colexicographic order)."""
    numbers = chain.from_iterable(combinations(range(items), size))
    rows = torch.from_numpy(np.fromiter(numbers, np.int64)).view(comb(items, size), size)
    return items - 1 - rows.flip(-1)


def step_log_probs(
    scores: Float[Tensor, "rows items"], members: Int[Tensor, "sets size"]
) -> Float[Tensor, "rows sets size"]:
    """log P(i | S): log-probability that member i is drawn next when the set S remains, by softmax over S.

    >>> step_log_probs(torch.zeros(1, 3), torch.tensor([[0, 1]])).exp()  # 0 or 1 next, when 2 is gone
    tensor([[[0.5000, 0.5000]]])
    """
    return scores.index_select(1, members.flatten()).view(len(scores), *members.shape).log_softmax(-1)


def subset_entropy(scores: Float[Tensor, "rows items"]) -> Float[Tensor, " rows"]:
    """Entropy in nats = sum over S of Q(S) * entropy of one draw from S (chain rule).

    >>> subset_entropy(torch.zeros(1, 3)).exp()  # 3! equally likely rankings
    tensor([6.])
    """
    return sum_over_subsets(lambda members, prob, step, _: -(prob * step).sum((-1, -2)), scores).sum(0)


def subset_kl(scores: Float[Tensor, "rows items"], others: Float[Tensor, "rows items"]) -> Float[Tensor, " rows"]:
    """KL(scores || others) in nats = sum over S of Q(S) * KL of one draw from S (chain rule).

    >>> subset_kl(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))
    tensor([0.])
    """
    terms = sum_over_subsets(lambda members, prob, step, other: (prob * (step - other)).sum((-1, -2)), scores, others)
    return terms.sum(0)


def subset_rank_marginals(scores: Float[Tensor, "rows items"]) -> Float[Tensor, "rows items ranks"]:
    """P(item i has rank k) = sum over the sets S of n - k + 1 items of Q(S) P(i | S).

    >>> subset_rank_marginals(torch.zeros(1, 2))
    tensor([[[0.5000, 0.5000],
             [0.5000, 0.5000]]])
    """

    def visit(members: Tensor, prob: Tensor, step: Tensor, _: Tensor | None) -> Tensor:
        return prob.new_zeros(len(prob), scores.shape[-1]).index_add(1, members.flatten(), prob.flatten(1))

    return sum_over_subsets(visit, scores).permute(1, 2, 0)


def sum_over_subsets(visit: Callable, scores: Tensor, others: Tensor | None = None) -> Tensor:
    """Visit the sets from the full set down to single items and sum what `visit` returns, for each size of set.

    Args:
        visit: called with (members, prob, step, other) for sets of one size: prob = Q(S) P(i | S), and the
            log-probabilities of one draw under `scores` and under `others` (or None), each rows x sets x size.
        scores: rows x n, of the distribution that gives Q.
        others: rows x n, scores of a second distribution, or None.
    Returns:
        sizes (n, n - 1, .. 1) x rows x the shape that `visit` returns for one row.
    Raises:
        ValueError: more than SUBSET_LIMIT items.
    """
    rows, items = scores.shape
    if items > SUBSET_LIMIT:
        raise ValueError(
            f"{items} items have 2^{items} subsets; the exact sums stop at {SUBSET_LIMIT} items. Rank fewer items, "
            "or estimate from draws: PlackettLuce.sample with log_prob, or js_divergence(method='sampled')"
        )
    set_probs, values = scores.new_ones(rows, 1), []
    for size in range(items, 0, -1):
        set_probs, value = _descend(visit, scores, others, set_probs, size)
        values.append(value)
    return torch.stack(values)


def _descend(
    visit: Callable, scores: Tensor, others: Tensor | None, set_probs: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """From Q of all sets of `size` items to Q of the next smaller ones, in chunks of CHUNK_DRAWS."""
    rows, items = scores.shape
    members, children = subset_level(items, size, scores.device)
    smaller_probs, total = set_probs.new_zeros(rows, comb(items, size - 1)), 0
    chunk = max(1, CHUNK_DRAWS // (rows * size)) if rows else len(members)
    recompute = torch.is_grad_enabled() and len(members) > chunk
    chunks = zip(members.split(chunk), set_probs.split(chunk, 1), children.split(chunk), strict=True)
    for chunk_members, chunk_probs, chunk_children in chunks:
        inputs = (visit, scores, others, chunk_probs, chunk_members)
        prob, value = checkpoint(_draw, *inputs, use_reentrant=False) if recompute else _draw(*inputs)
        smaller_probs.index_add_(1, chunk_children.flatten(), prob.flatten(1))
        total = total + value
    return smaller_probs, total


def _draw(
    visit: Callable, scores: Tensor, others: Tensor | None, set_probs: Tensor, members: Tensor
) -> tuple[Tensor, Tensor]:
    """One draw from each set: Q(S) P(i | S), and the value of `visit`."""
    step = step_log_probs(scores, members)
    other = None if others is None else step_log_probs(others, members)
    prob = set_probs[..., None] * step.exp()
    return prob, visit(members, prob, step, other)
