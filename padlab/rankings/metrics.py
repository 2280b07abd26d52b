"""How alike two lists of scores rank the same items: Kendall tau, top-1, pairwise accuracy, NDCG; and their units.

Every function takes scores and reference of shape prompts x n (higher is better), optionally a mask of the items that
exist, and gives one number per prompt, NaN where the measure is undefined. These are the only such functions in padlab:
training, evaluation and figures call them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from padlab.rankings.checks import check_scores

Scores = Tensor | np.ndarray | Sequence


class Metric(NamedTuple):
    """What a measure is called, its unit or range, and whether more of it is better (1), worse (-1) or neither (0)."""

    title: str
    unit: str
    better: int


METRICS = {
    "loss": Metric("training loss", "nats", -1),
    "eval_loss": Metric("held-out loss", "nats", -1),
    "jsd": Metric("Jensen-Shannon divergence", "nats", -1),
    "kendall_tau": Metric("Kendall tau", "-1 to 1", 1),
    "top1": Metric("same best response", "share of prompts", 1),
    "pairwise_accuracy": Metric("pairs in the teacher's order", "share", 1),
    "ndcg": Metric("NDCG", "0 to 1", 1),
    "teacher_reward": Metric("teacher's reward", "nats/token", 1),
    "student_reward": Metric("student's reward", "nats/token", 1),
    "quality": Metric("true quality", "0 to 1", 1),
    "right": Metric("right responses", "share", 1),
    "greedy": Metric("right responses, greedy", "share", 1),
    "truth_tau": Metric("Kendall tau with the truth", "-1 to 1", 1),
    "length": Metric("length", "tokens", 0),
    "finished": Metric("finished responses", "share", 1),
    "repetition": Metric("repetition", "share of 3-token sequences", -1),
    "local_win_rate": Metric("local win rate against before", "share", 1),
    "gsm8k": Metric("right on GSM8K", "share", 1),
    "kl_to_start": Metric("KL to the student before", "nats/token", 0),
    "grad_norm": Metric("gradient norm", "no unit", 0),
    "learning_rate": Metric("learning rate", "no unit", 0),
}


def kendall_tau(scores: Scores, reference: Scores, mask: Tensor | None = None) -> Float[Tensor, "*prompts"]:
    """Kendall's tau-b, -1 to 1: (pairs in the same order - pairs in opposite order) / sqrt(pairs untied in each).

    NaN where one of the two lists does not rank at all (all equal, or a single item).

    Args:
        scores, reference: prompts x n, any unit; higher is better.
        mask: True where the item exists; None means that all do.
    Raises:
        ValueError: a number that is not finite (row and item are named), or shapes that differ.

    >>> kendall_tau([3.0, 1.0, 2.0], [9.0, 7.0, 8.0])
    tensor(1., dtype=torch.float64)
    """
    a, b, _ = _pair_signs(scores, reference, mask)
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def top1(scores: Scores, reference: Scores, mask: Tensor | None = None) -> Float[Tensor, "*prompts"]:
    """Share of the items with the highest score that also have the highest reference, 0 to 1.

    Without ties: 1 where both lists put the same item first, else 0. NaN where the reference does not rank.

    Arguments and errors as in `kendall_tau`.

    >>> top1([2.0, 2.0, 1.0], [5.0, 4.0, 3.0])
    tensor(0.5000, dtype=torch.float64)
    """
    scores, reference, exists = _checked(scores, reference, mask)
    first, best = (_is_highest(values, exists) for values in (scores, reference))
    share = (first & best).double().sum(-1) / first.double().sum(-1)
    return share.masked_fill((best == exists).all(-1), torch.nan)


def pairwise_accuracy(scores: Scores, reference: Scores, mask: Tensor | None = None) -> Float[Tensor, "*prompts"]:
    """Share of the reference's untied pairs that the scores put in the same order, 0 to 1; a tied score counts 1/2.

    NaN where the reference does not rank. Arguments and errors as in `kendall_tau`.

    >>> pairwise_accuracy([1.0, 1.0, 0.0], [3.0, 2.0, 1.0])
    tensor(0.8333, dtype=torch.float64)
    """
    signs, wanted, _ = _pair_signs(scores, reference, mask)
    return ((1 + signs * wanted) / 2 * wanted.abs()).sum(-1) / wanted.abs().sum(-1)


def ndcg(scores: Scores, reference: Scores) -> Float[Tensor, "*prompts"]:
    """Normalised discounted cumulative gain of ranking by the scores, 0 to 1 (higher is better).

    The gain of an item is its reference value, moved and scaled to 0 (worst) to 1 (best); rank k is discounted by
    log2(k + 1). Items with equal scores share their mean gain. NaN where the reference does not rank. Arguments and
    errors as in `kendall_tau`, without mask.

    >>> ndcg([3.0, 2.0, 1.0], [5.0, 4.0, 0.0])
    tensor(1., dtype=torch.float64)
    """
    scores, reference, _ = _checked(scores, reference, None)
    low, high = reference.amin(-1, keepdim=True), reference.amax(-1, keepdim=True)
    gain = (reference - low) / (high - low)
    tied = (scores[..., :, None] == scores[..., None, :]).double()
    shared = (tied @ gain[..., None]).squeeze(-1) / tied.sum(-1)
    discount = 1 / torch.arange(2, scores.shape[-1] + 2, dtype=torch.float64).log2()
    reached = shared.gather(-1, scores.argsort(dim=-1, descending=True, stable=True))
    return (reached * discount).sum(-1) / (gain.sort(-1, descending=True).values * discount).sum(-1)


def count_ties(scores: Scores, mask: Tensor | None = None) -> Float[Tensor, "*prompts"]:
    """Number of pairs of items with equal scores. Arguments and errors as in `kendall_tau`.

    >>> count_ties([1.0, 1.0, 0.0])
    tensor(1., dtype=torch.float64)
    """
    signs, _, both = _pair_signs(scores, scores, mask)
    return both.sum(-1) - signs.abs().sum(-1)


def _checked(scores: Scores, reference: Scores, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Both lists in float64 on the CPU, and the mask in full."""
    (scores, mask), (reference, _) = (
        check_scores(torch.as_tensor(v, dtype=torch.float64, device="cpu"), mask) for v in (scores, reference)
    )
    if scores.shape != reference.shape:
        raise ValueError(
            f"scores have shape {tuple(scores.shape)}, the reference {tuple(reference.shape)}: both must be prompts x n"
        )
    exists = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    return scores, reference, exists


def _pair_signs(scores: Scores, reference: Scores, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Per pair of items i < j: the sign of both differences, 0 where an item is absent; and which pairs exist."""
    scores, reference, exists = _checked(scores, reference, mask)
    i, j = torch.triu_indices(scores.shape[-1], scores.shape[-1], 1)
    both = (exists[..., i] & exists[..., j]).double()
    return *((values[..., i] - values[..., j]).sign() * both for values in (scores, reference)), both


def _is_highest(values: Tensor, exists: Tensor) -> Tensor:
    values = values.masked_fill(~exists, -torch.inf)
    return values == values.amax(-1, keepdim=True)
