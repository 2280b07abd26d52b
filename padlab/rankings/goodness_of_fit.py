"""Does a Plackett-Luce distribution describe given pairwise choices? Maximum likelihood fit, and its misfit."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from padlab.rankings.calibration import SELECTION_FLOOR
from padlab.rankings.checks import Numbers, as_numbers, working_dtype

NEWTON_STEPS = 200
HALVINGS = 40


class GoodnessOfFit(NamedTuple):
    """How far pairwise choice probabilities are from every Plackett-Luce distribution, per row of a batch.

    All measures are 0 where a Plackett-Luce distribution fits exactly.

    Args:
        scores: the fitted scores, n, mean 0.
        fitted: their pairwise probabilities, n x n.
        kl_per_pair: mean KL(observed || fitted) over the pairs, nats.
        largest_gap: largest |observed - fitted| probability.
        cyclic_share: share of the sum of squares of the observed log-odds that no scores can explain, 0 to 1 (only
            cycles, as in rock, paper, scissors); 0 where all choices are even but for rounding.
        context_effect: root mean square over triples of log-odds(i, j) + log-odds(j, k) + log-odds(k, i), nats; 0
            under independence of irrelevant alternatives (the odds of two items do not depend on a third).
        intransitive_triples: share of triples with a cycle: i beats j beats k beats i (weak transitivity fails).
        weakened_triples: share of triples i beats j beats k in which i beats k by less than the stronger of the two
            (strong transitivity fails).
    """

    scores: Float[Tensor, "*batch items"]
    fitted: Float[Tensor, "*batch items items"]
    kl_per_pair: Float[Tensor, "*batch"]
    largest_gap: Float[Tensor, "*batch"]
    cyclic_share: Float[Tensor, "*batch"]
    context_effect: Float[Tensor, "*batch"]
    intransitive_triples: Float[Tensor, "*batch"]
    weakened_triples: Float[Tensor, "*batch"]


def fit_plackett_luce(
    pairwise: Float[Tensor, "*batch items items"] | Numbers,
    weights: Float[Tensor, "*batch items items"] | Numbers | None = None,
) -> Float[Tensor, "*batch items"]:
    """Maximum likelihood scores of a Plackett-Luce (Bradley-Terry) distribution for pairwise choices; mean 0.

    Newton's method with step halving on sum_{i<j} w_ij (p_ij log s_ij + p_ji log s_ji), s_ij = sigmoid(score i - score
    j), from the weighted least squares fit of the log-odds.

    Args:
        pairwise: entry i, j is the probability that i is chosen over j; entries i, j and j, i sum to 1; the diagonal
            is ignored. Probabilities are kept `SELECTION_FLOOR` = 1e-6 away from 0 and 1, so that scores stay finite.
        weights: how often each pair was asked, symmetric, >= 0; None: all equally often.
    Raises:
        ValueError: a table that is not square, entries outside 0 .. 1, pairs that do not sum to 1, weights of another
            shape, or items that no chain of asked pairs connects (their scores have no common scale).
        ArithmeticError: no convergence in 200 steps.

    >>> fit_plackett_luce(torch.tensor([[0.5, 0.88], [0.12, 0.5]])).softmax(-1)
    tensor([0.8800, 0.1200])
    """
    pairwise = as_numbers(pairwise)
    observed = _check_choices(pairwise)
    weights = _check_weights(weights, observed)
    scores = torch.linalg.solve(_laplacian(weights), (weights * observed.logit()).sum(-1))
    for _ in range(NEWTON_STEPS):
        fitted = _pairwise(scores)
        gradient = (weights * (observed - fitted)).sum(-1)
        step = torch.linalg.solve(_laplacian(weights * fitted * (1 - fitted)), gradient)
        likelihood, size = _log_likelihood(scores, observed, weights), torch.ones_like(scores[..., :1])
        for _ in range(HALVINGS):
            worse = _log_likelihood(scores + size * step, observed, weights) < likelihood
            if not bool(worse.any()):
                break
            size = torch.where(worse[..., None], size / 2, size)
        scores = scores + torch.where(worse[..., None], 0.0, size) * step  # no better point: this is the maximum
        if bool(((size * step).abs().amax(-1) < 1e-9).logical_or(worse).all()):
            return scores.to(pairwise.dtype)
    raise ArithmeticError(f"the Plackett-Luce fit did not converge in {NEWTON_STEPS} steps")


def _laplacian(weights: Tensor) -> Tensor:
    """Sum of the weights on the diagonal, minus the weights elsewhere; 1/n added fixes the mean of a solution at 0."""
    weights = weights - torch.diag_embed(weights.diagonal(dim1=-2, dim2=-1))
    return torch.diag_embed(weights.sum(-1)) - weights + weights.amax((-1, -2), keepdim=True) / weights.shape[-1]


def _log_likelihood(scores: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    return (weights * observed * logsigmoid(scores[..., :, None] - scores[..., None, :])).sum((-1, -2))


def _check_weights(weights: Tensor | None, observed: Tensor) -> Tensor:
    """Symmetric weights, 0 on the diagonal, that connect all items."""
    items = observed.shape[-1]
    weights = torch.ones_like(observed) if weights is None else as_numbers(weights).to(observed)
    if weights.shape[-2:] != observed.shape[-2:] or bool((weights < 0).any()) or not torch.equal(weights, weights.mT):
        raise ValueError(f"weights have shape {tuple(weights.shape)}: expected a symmetric n x n table of numbers >= 0")
    weights = weights.masked_fill(torch.eye(items, dtype=torch.bool, device=weights.device), 0.0)
    reached = (weights > 0).to(weights) + torch.eye(items).to(weights)
    for _ in range(items.bit_length()):  # chains of twice the length each time
        reached = (reached @ reached > 0).to(weights)
    if items > 1 and bool((reached == 0).any()):
        *row, i, j = (reached == 0).nonzero()[0].tolist()
        raise ValueError(
            f"weights{row or ''}: no chain of asked pairs connects items {i} and {j}, so no scale is shared"
        )
    return weights


def _pairwise(scores: Tensor) -> Tensor:
    return torch.sigmoid(scores[..., :, None] - scores[..., None, :])


def goodness_of_fit(pairwise: Float[Tensor, "*batch items items"] | Numbers) -> GoodnessOfFit:
    """How far pairwise choices are from every Plackett-Luce distribution: maximum likelihood fit and its misfit.

    Args:
        pairwise: as in `fit_plackett_luce`.
    Returns:
        GoodnessOfFit. With two items every choice fits exactly, and all measures of misfit are 0.
    Raises:
        ValueError: as in `fit_plackett_luce`.

    >>> cycle = torch.tensor([[0.5, 0.8, 0.2], [0.2, 0.5, 0.8], [0.8, 0.2, 0.5]])  # rock, paper, scissors
    >>> goodness_of_fit(cycle).cyclic_share
    tensor(1.)
    """
    pairwise = as_numbers(pairwise)
    observed = _check_choices(pairwise)
    scores = fit_plackett_luce(pairwise).to(observed.dtype)
    fitted, log_odds = _pairwise(scores), observed.logit()
    best = log_odds.mean(-1)  # the scores that explain most of the log-odds' sum of squares
    unexplained = (log_odds - (best[..., :, None] - best[..., None, :])).square().sum((-1, -2))
    kl = (observed * (observed.log() - fitted.log())).sum((-1, -2))  # the diagonal, 1/2 and 1/2, adds 0
    items = scores.shape[-1]
    rounding = 1e4 * torch.finfo(pairwise.dtype).eps  # log-odds of this size are rounding errors, not preferences
    values = (
        scores,
        fitted,
        kl / max(1, items * (items - 1) // 2),
        (observed - fitted).abs().amax((-1, -2)),
        unexplained / log_odds.square().sum((-1, -2)).clamp(min=rounding**2),
        *_triples(log_odds),
    )
    return GoodnessOfFit(*(v.to(pairwise.dtype) for v in values))


def _check_choices(pairwise: Tensor) -> Tensor:
    """In float64: probabilities away from 0 and 1, with 1/2 on the diagonal."""
    pairwise = as_numbers(pairwise)
    if pairwise.dim() < 2 or pairwise.shape[-1] != pairwise.shape[-2]:
        raise ValueError(f"pairwise has shape {tuple(pairwise.shape)}: expected n x n probabilities")
    diagonal = torch.eye(pairwise.shape[-1], dtype=torch.bool, device=pairwise.device)
    observed = pairwise.to(working_dtype(pairwise.device)).masked_fill(diagonal, 0.5)
    invalid = ~((observed >= 0) & ((observed + observed.mT - 1).abs() < 1e-3))
    if invalid.any():
        *row, i, j = invalid.nonzero()[0].tolist()
        raise ValueError(
            f"pairwise{row or ''}: P({i} over {j}) = {observed[(*row, i, j)]:.4g} and P({j} over {i}) = "
            f"{observed[(*row, j, i)]:.4g}; both must lie between 0 and 1 and sum to 1"
        )
    observed = (observed + 1 - observed.mT) / 2  # sums of pairs exactly 1
    return observed.clamp(SELECTION_FLOOR, 1 - SELECTION_FLOOR)


def _triples(log_odds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """context_effect, intransitive_triples and weakened_triples of `GoodnessOfFit`."""
    items = log_odds.shape[-1]
    triples = torch.combinations(torch.arange(items, device=log_odds.device), 3)
    if len(triples) == 0:
        return (log_odds.new_zeros(log_odds.shape[:-2]),) * 3
    i, j, k = triples.unbind(-1)
    sides = torch.stack([log_odds[..., i, j], log_odds[..., j, k], log_odds[..., k, i]], -1)  # around the triangle
    clear = sides.abs() > 1e-9
    cyclic = (sides > 0).all(-1) | (sides < 0).all(-1)
    # not cyclic: best against worst is the side whose sign differs from the other two; it should be the largest
    signs = sides.sign()
    differs = signs * signs.sum(-1, keepdim=True) < 0
    best_to_worst = (sides.abs() * differs).sum(-1)
    weakened = ~cyclic & clear.all(-1) & (best_to_worst < sides.abs().amax(-1) - 1e-9)
    return sides.sum(-1).square().mean(-1).sqrt(), cyclic.to(log_odds).mean(-1), weakened.to(log_odds).mean(-1)
