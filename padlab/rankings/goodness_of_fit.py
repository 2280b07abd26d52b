"""Does a Plackett-Luce describe these choices? Maximum likelihood fit to pairwise choices, and what it misses."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from padlab.rankings.checks import working_dtype

PROBABILITY_FLOOR = 1e-6  # probabilities of exactly 0 or 1 would put scores at infinity
NEWTON_STEPS = 100


class GoodnessOfFit(NamedTuple):
    """How far pairwise choice probabilities are from those of any Plackett-Luce distribution, per row of a batch.

    scores: the fitted scores, n, mean 0. fitted: their pairwise probabilities, n x n.
    kl_per_pair: mean KL(observed || fitted) over the pairs, nats; 0 = perfect.
    largest_gap: largest |observed - fitted| probability.
    cyclic_share: share of the observed log-odds' sum of squares that no scores can explain, 0 (a Plackett-Luce)
        to 1 (rock, paper, scissors).
    context_effect: root mean square over triples of log-odds(i, j) + log-odds(j, k) + log-odds(k, i), nats; 0 where
        the odds of two items do not depend on the third (independence of irrelevant alternatives).
    intransitive_triples: share of the triples that go round: i beats j beats k beats i (weak transitivity fails).
    weakened_triples: share of triples i beats j beats k where i beats k less clearly than the stronger of the two
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
    pairwise: Float[Tensor, "*batch items items"], weights: Float[Tensor, "*batch items items"] | None = None
) -> Float[Tensor, "*batch items"]:
    """Scores of the Plackett-Luce (Bradley-Terry) of maximum likelihood for pairwise choices; mean 0.

    Args:
        pairwise: entry i, j is the probability that i is chosen over j; entries i, j and j, i sum to 1; the diagonal
            is not read. Values of 0 and 1 are moved by 1e-6, since they would put scores at infinity.
        weights: number of comparisons of i and j, symmetric, at least 0; None counts every pair once.
    Raises:
        ValueError: entries outside 0 .. 1, pairs that do not sum to 1, or weights that leave some items uncompared.

    >>> fit_plackett_luce(torch.tensor([[0.5, 0.88], [0.12, 0.5]])).softmax(-1)
    tensor([0.8800, 0.1200])
    """
    observed, weights = _checked(pairwise, weights)
    scores = _least_squares(observed.logit())
    for _ in range(NEWTON_STEPS):
        step = _newton_step(scores, observed, weights)
        scores = scores + step
        if step.abs().max() < 1e-12:
            break
    return scores.to(pairwise.dtype)


def _newton_step(scores: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    """One damped Newton step up the log-likelihood sum_{i<j} w_ij (p_ij log s_ij + p_ji log s_ji)."""
    fitted = torch.sigmoid(scores[..., :, None] - scores[..., None, :])
    slope = (weights * (observed - fitted)).sum(-1)
    bend = weights * fitted * (1 - fitted)
    laplacian = torch.diag_embed(bend.sum(-1)) - bend + 1 / scores.shape[-1]  # the constant fixes the mean at 0
    step = torch.linalg.solve(laplacian, slope)
    return step / step.abs().amax(-1, keepdim=True).clamp(min=1)  # no score moves by more than 1 at a time


def goodness_of_fit(
    pairwise: Float[Tensor, "*batch items items"], weights: Float[Tensor, "*batch items items"] | None = None
) -> GoodnessOfFit:
    """How far pairwise choices depart from every Plackett-Luce: the fit by maximum likelihood and what it misses.

    Args:
        pairwise, weights: as in `fit_plackett_luce`; weights serve the fit only.
    Returns:
        GoodnessOfFit. With two items every choice is a Plackett-Luce, and all departures are 0.
    Raises:
        ValueError: as in `fit_plackett_luce`.
    """
    observed, _ = _checked(pairwise, None)
    scores = fit_plackett_luce(pairwise, weights).to(observed.dtype)
    fitted = torch.sigmoid(scores[..., :, None] - scores[..., None, :])
    odds = observed.logit()
    best = _least_squares(odds)
    unexplained = (odds - (best[..., :, None] - best[..., None, :])).square().sum((-1, -2))
    kl = (observed * (observed.log() - fitted.log())).sum((-1, -2))  # the diagonal, 1/2 against 1/2, adds 0
    items = scores.shape[-1]
    values = (
        scores,
        fitted,
        kl / max(1, items * (items - 1) // 2),
        (observed - fitted).abs().amax((-1, -2)),
        unexplained / odds.square().sum((-1, -2)).clamp(min=1e-300),
        *_triples(odds),
    )
    return GoodnessOfFit(*(v.to(pairwise.dtype) for v in values))


def likelihood_ratio_test(
    pairwise: Float[Tensor, "*batch items items"], counts: Float[Tensor, "*batch items items"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Could these choices come from a Plackett-Luce? Likelihood-ratio statistic and its p-value.

    Args:
        pairwise: observed shares, see `fit_plackett_luce`.
        counts: number of independent comparisons of i and j, symmetric. A model's probabilities are no counts: this
            test is for votes that were drawn.
    Returns:
        2 sum over pairs of counts * KL(observed || fitted), and the p-value by chi-squared with
        (compared pairs - n + 1) degrees of freedom; 1 where that is 0.
    """
    observed, counts = _checked(pairwise, counts)
    scores = fit_plackett_luce(pairwise, counts).to(observed.dtype)
    fitted = torch.sigmoid(scores[..., :, None] - scores[..., None, :])
    statistic = 2 * (counts * observed * (observed.log() - fitted.log())).sum((-1, -2))
    freedom = ((counts > 0).sum((-1, -2)) / 2 - scores.shape[-1] + 1).to(observed.dtype)
    p_value = torch.special.gammaincc(freedom.clamp(min=1) / 2, statistic.clamp(min=0) / 2)
    return statistic.to(pairwise.dtype), torch.where(freedom > 0, p_value, 1.0).to(pairwise.dtype)


def context_gap(
    choice: Float[Tensor, "*batch items"], pairwise: Float[Tensor, "*batch items items"]
) -> Float[Tensor, "*batch items items"]:
    """Log-odds of i over j among all n options, minus those asked as a pair, nats; 0 everywhere under Luce's axiom.

    Args:
        choice: n-way selection probabilities, above 0.
        pairwise: pairwise selection probabilities, see `fit_plackett_luce`.
    """
    observed, _ = _checked(pairwise, None)
    logs = choice.to(observed.dtype).clamp(min=PROBABILITY_FLOOR).log()
    return (logs[..., :, None] - logs[..., None, :] - observed.logit()).to(pairwise.dtype)


def _checked(pairwise: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """In float64: probabilities off 0 and 1 with 1/2 on the diagonal; weights with 0 there."""
    items = pairwise.shape[-1]
    diagonal = torch.eye(items, dtype=torch.bool, device=pairwise.device)
    observed = pairwise.to(working_dtype(pairwise.device)).masked_fill(diagonal, 0.5)
    bad = ~((observed >= 0) & ((observed + observed.mT - 1).abs() < 1e-3))
    if bad.any():
        *row, i, j = bad.nonzero()[0].tolist()
        raise ValueError(
            f"pairwise{row or ''}: P({i} over {j}) = {observed[(*row, i, j)]:.4g} and P({j} over {i}) = "
            f"{observed[(*row, j, i)]:.4g}; both must lie between 0 and 1 and sum to 1"
        )
    weights = torch.ones_like(observed) if weights is None else weights.to(observed)
    weights = weights.masked_fill(diagonal, 0.0)
    if (weights < 0).any() or not torch.equal(weights, weights.mT):
        raise ValueError("weights: the number of comparisons of i and j must be symmetric and at least 0")
    if not torch.linalg.matrix_power((weights > 0).to(observed) + diagonal, items).gt(0).all():
        raise ValueError("weights: some items are never compared with the others, directly or through third items")
    return observed.clamp(PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR), weights


def _least_squares(odds: Tensor) -> Tensor:
    """The scores whose differences come closest to the log-odds, all pairs counting alike: the row means."""
    return odds.mean(-1)


def _triples(odds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    items = odds.shape[-1]
    triples = torch.combinations(torch.arange(items, device=odds.device), 3)
    if len(triples) == 0:
        return (odds.new_zeros(odds.shape[:-2]),) * 3
    i, j, k = triples.unbind(-1)
    sides = torch.stack([odds[..., i, j], odds[..., j, k], odds[..., k, i]], -1)  # once round
    clear = sides.abs() > 1e-9
    round_trip = (sides > 0).all(-1) | (sides < 0).all(-1)
    # not round: the longest way is the side whose sign stands alone; it should be the clearest of the three
    signs = sides.sign()
    alone = signs * signs.sum(-1, keepdim=True) < 0
    longest = (sides.abs() * alone).sum(-1)
    weakened = ~round_trip & clear.all(-1) & (longest < sides.abs().amax(-1) - 1e-9)
    return sides.sum(-1).square().mean(-1).sqrt(), round_trip.to(odds).mean(-1), weakened.to(odds).mean(-1)
