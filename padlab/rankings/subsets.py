"""Exact sums over the 2^n subsets of items: entropy, KL, rank marginals in O(n 2^n) instead of n!.

A ranking is drawn best item first; what happens next depends only on the set S of items that remain.
So a sum over n! rankings becomes a sum over sets: Q[S], the probability of ever having exactly S left,
times what one draw from S contributes.
"""

from collections.abc import Callable
from functools import lru_cache
from math import comb

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from padlab.rankings.checks import FILLER

SUBSET_LIMIT = 20  # n 2^(n-1) draws: 10.5 million at n = 20
KEPT_WIDE = 2**16  # tables above this size are kept in int32, smaller ones ready for use
CHUNK_DRAWS = 2**17  # rows x draws handled at once; above, chunks are recomputed in the backward pass, not kept


def subset_level(
    items: int, size: int, device: torch.device
) -> tuple[Int[Tensor, "sets size"], Int[Tensor, "sets size"]]:
    """All sets of `size` items out of `items`, and where a set lands when one of its items leaves.

    Args:
        items: n, the number of items.
        size: number of items in each set, 1 to n.
        device: where the tables are wanted.
    Returns:
        The members of each set in ascending order, and for each member the position, in the table of the
        next smaller size, of the set without it. Both (n choose size) x size.
    """
    members, children = _level_tables(items, size, device)
    return members.long(), children.long()  # torch indexes four times faster with int64


@lru_cache(maxsize=64)  # levels; the 20 levels of 20 items take 84 MB
def _level_tables(items: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    members = items - 1 - _combinations(items, size).flip(-1)  # falling colexicographic order
    binomials = [[min(comb(a, b), 2**62) for b in range(size + 1)] for a in range(items)]
    table, place = torch.tensor(binomials, device="cpu"), torch.arange(size, device="cpu")
    before = table[members, place + 1]  # share in the colex rank of a member that keeps its place
    after = table[members, place]  # ... and of one that moves down a place
    rank = (before.cumsum(-1) - before) + (after.flip(-1).cumsum(-1).flip(-1) - after)
    dtype = torch.int32 if members.numel() > KEPT_WIDE else torch.int64
    return members.to(device, dtype), (comb(items, size - 1) - 1 - rank).to(device, dtype)


def _combinations(items: int, size: int) -> Tensor:
    rows, last = torch.zeros(1, 0, dtype=torch.long, device="cpu"), torch.full((1,), -1, device="cpu")
    for place in range(size):
        choices = items - size + place - last
        starts = (choices.cumsum(0) - choices).repeat_interleave(choices)
        rows = rows.repeat_interleave(choices, 0)
        last = last.repeat_interleave(choices) + 1 + torch.arange(len(starts), device="cpu") - starts
        rows = torch.cat([rows, last[:, None]], -1)
    return rows


def step_log_probs(
    scores: Float[Tensor, "rows items"],
    mask: Bool[Tensor, "rows items"] | None,
    members: Int[Tensor, "sets size"],
) -> Float[Tensor, "rows sets size"]:
    """Log-probability that each member is the next one drawn, given the set that remains.

    Absent items (mask False) come after all others, in ascending order, with probability 1: that keeps
    every row at n items. What cannot happen gets FILLER, a finite stand-in for log 0.
    """
    shape = (len(scores), *members.shape)
    drawn = scores.index_select(1, members.flatten()).view(shape)
    if mask is None:
        return torch.log_softmax(drawn, -1)
    present = mask.index_select(1, members.flatten()).view(shape)
    step = torch.log_softmax(drawn.masked_fill(~present, FILLER), -1)
    only_absent = ~present.any(-1, keepdim=True)
    lowest_first = torch.full_like(step[0, 0], FILLER).index_fill(0, torch.tensor([0], device=step.device), 0.0)
    return torch.where(only_absent, lowest_first, step.masked_fill(~present, FILLER))


def subset_entropy(
    scores: Float[Tensor, "rows items"], mask: Bool[Tensor, "rows items"] | None
) -> Float[Tensor, " rows"]:
    """Entropy in nats: sum over sets of Q[S] times the entropy of one draw from S (chain rule)."""
    return sum_over_subsets(lambda members, flow, step, _: -(flow * step).sum((-1, -2)), scores, mask).sum(0)


def subset_kl(
    scores: Float[Tensor, "rows items"], others: Float[Tensor, "rows items"], mask: Bool[Tensor, "rows items"] | None
) -> Float[Tensor, " rows"]:
    """KL(scores || others) in nats: sum over sets of Q[S] times the KL of one draw from S (chain rule)."""
    return sum_over_subsets(
        lambda members, flow, step, other: (flow * (step - other)).sum((-1, -2)), scores, mask, others
    ).sum(0)


def subset_rank_marginals(
    scores: Float[Tensor, "rows items"], mask: Bool[Tensor, "rows items"] | None
) -> Float[Tensor, "rows items ranks"]:
    """P(item i at rank k): the flow out of all sets of n - k + 1 items by drawing i."""

    def visit(members: Tensor, flow: Tensor, step: Tensor, _: Tensor | None) -> Tensor:
        return flow.new_zeros(len(flow), scores.shape[-1]).index_add(1, members.flatten(), flow.flatten(1))

    return sum_over_subsets(visit, scores, mask).permute(1, 2, 0)


def sum_over_subsets(visit: Callable, scores: Tensor, mask: Tensor | None, others: Tensor | None = None) -> Tensor:
    """Walk down the sets from all n items to single ones; levels x rows x whatever `visit` returns.

    Args:
        visit: called with (members, flow, step, other) for each size of set: flow = Q[S] P(i | S) and the
            log-probabilities of one draw under `scores` and under `others`, each rows x sets x size.
        scores: rows x n, the distribution that is walked.
        mask: rows x n, True where the item exists, or None.
        others: rows x n, scores of a second distribution, or None.
    Raises:
        ValueError: more than SUBSET_LIMIT items.
    """
    rows, items = scores.shape
    if items > SUBSET_LIMIT:
        raise ValueError(
            f"{items} items have 2^{items} subsets; the exact sums stop at {SUBSET_LIMIT} items. Rank fewer items, "
            "or estimate from draws: PlackettLuce.sample with log_prob, or js_divergence(method='sampled')"
        )
    reach, values = scores.new_ones(rows, 1), []
    for size in range(items, 0, -1):
        reach, value = _descend(visit, scores, mask, others, reach, size)
        values.append(value)
    return torch.stack(values)


def _descend(
    visit: Callable, scores: Tensor, mask: Tensor | None, others: Tensor | None, reach: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """From Q of all sets of `size` items to Q of the next smaller ones, a cacheful of sets at a time."""
    rows, items = scores.shape
    members, children = subset_level(items, size, scores.device)
    below, total = reach.new_zeros(rows, comb(items, size - 1)), 0
    at_once = max(1, CHUNK_DRAWS // (rows * size)) if rows else len(members)
    recompute = torch.is_grad_enabled() and len(members) > at_once
    for some, left, to in zip(members.split(at_once), reach.split(at_once, 1), children.split(at_once), strict=True):
        draw = (visit, scores, mask, others, left, some)
        flow, value = checkpoint(_flow, *draw, use_reentrant=False) if recompute else _flow(*draw)
        below.index_add_(1, to.flatten(), flow.flatten(1))
        total = total + value
    return below, total


def _flow(
    visit: Callable, scores: Tensor, mask: Tensor | None, others: Tensor | None, reach: Tensor, members: Tensor
) -> tuple[Tensor, Tensor]:
    step = step_log_probs(scores, mask, members)
    other = None if others is None else step_log_probs(others, mask, members)
    flow = reach[..., None] * step.exp()
    return flow, visit(members, flow, step, other)
