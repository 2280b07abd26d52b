"""Exercises of notebook 03: probabilities of rankings, of pairs, and drawing rankings."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from padlab.checks.verdict import Verdict, check, distinct_scores
from padlab.rankings.plackett_luce import PlackettLuce


def ranking_log_probability(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(scores, ranking)`: the log-probability of a ranking under Plackett-Luce.

    Write: draw the best item by softmax of the scores, then the next among those left, and so on; the log of the
    probability that this gives the ranking, a number in nats.

    - scores: [n], beta * reward.
    - ranking: [n] int64, item indices, best first.

    >>> padlab.checks.ranking_log_probability(lambda scores, ranking: ...).state
    'not attempted'
    """
    return check(function, _log_prob, RANKING_MISTAKES, _draw_ranking, "ranking_log_probability", seed)


def _log_prob(scores: Tensor, ranking: Tensor) -> Tensor:
    return PlackettLuce(scores).log_prob(ranking)


def picked_stay(scores, ranking):
    """You left the picked items among those to choose from. Each step's sum runs over the items still left."""
    return scores.log_softmax(0).sum()


def picked_stay_but_last(scores, ranking):
    """You left the picked items among those to choose from. Each step's sum runs over the items still left."""
    return scores.log_softmax(0)[ranking[:-1]].sum()


def picked_removed_early(scores, ranking):
    """You took the item out before its own step. It is one of those that can be picked, so it belongs to the sum."""
    ordered = scores[ranking]
    return sum(ordered[k] - ordered[k + 1 :].logsumexp(0) for k in range(len(ordered) - 1))


def worst_first(scores, ranking):
    """You read the ranking from its end. It lists the items best first: the first is picked among all."""
    return _log_prob(scores, ranking.flip(0))


def ranks_for_items(scores, ranking):
    """You read the ranking as ranks (entry i is the rank of item i). Its entry k is the item at place k."""
    return _log_prob(scores, ranking.argsort())


def probability(scores, ranking):
    """You returned the probability. Return its log."""
    return _log_prob(scores, ranking).exp()


RANKING_MISTAKES = (picked_stay, picked_stay_but_last, picked_removed_early, worst_first, ranks_for_items, probability)


def _draw_ranking(rng: np.random.Generator, size: int) -> tuple:
    return distinct_scores(rng, size), torch.tensor(rng.permutation(size))


def pairwise_probability(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(scores, i, j)`: the probability that item i is ranked before item j, anywhere in the ranking.

    Write: that probability under Plackett-Luce, a number; no sum over rankings is needed.

    - scores: [n], beta * reward.
    - i, j: two different items.

    >>> padlab.checks.pairwise_probability(lambda scores, i, j: ...).state
    'not attempted'
    """
    return check(function, _pairwise, PAIR_MISTAKES, _draw_pair, "pairwise_probability", seed)


def _pairwise(scores: Tensor, i: int, j: int) -> Tensor:
    return PlackettLuce(scores).pairwise()[i, j]


def adjacent_only(scores, i, j):
    """You counted only the rankings in which i stands directly before j. Others may stand between them."""
    rankings, log_probs = PlackettLuce(scores).enumerate()
    directly_before = ((rankings[:, :-1] == i) & (rankings[:, 1:] == j)).any(1)
    return log_probs.exp()[directly_before].sum()


def top_choice(scores, i, j):
    """You computed the probability that i is the best of all. Only i and j are compared here."""
    return scores.softmax(0)[i]


def other_order(scores, i, j):
    """You computed the probability that j is ranked before i."""
    return _pairwise(scores, j, i)


def no_exp(scores, i, j):
    """You took the scores for weights. A weight is the exponential of a score."""
    return scores[i] / (scores[i] + scores[j])


PAIR_MISTAKES = (adjacent_only, top_choice, other_order, no_exp)


def _draw_pair(rng: np.random.Generator, size: int) -> tuple:
    i, j = rng.permutation(size)[:2].tolist()
    return distinct_scores(rng, size), i, j


def gumbel_ranking(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(scores, uniform)`: rankings drawn from Plackett-Luce.

    Write: add Gumbel noise g = -log(-log u) to the scores and sort, once per sample; [samples, n] item indices, best
    first.

    - scores: [n], beta * reward.
    - uniform: [samples, n], a random number u between 0 and 1 for every sample and item.

    >>> padlab.checks.gumbel_ranking(lambda scores, uniform: ...).state
    'not attempted'
    """
    return check(function, _gumbel, GUMBEL_MISTAKES, _draw_uniform, "gumbel_ranking", seed)


def _noise(uniform: Tensor) -> Tensor:
    return -(-uniform.log()).log()


def _best_first(values: Tensor) -> Tensor:
    return values.argsort(dim=-1, descending=True)


def _gumbel(scores: Tensor, uniform: Tensor) -> Tensor:
    return _best_first(scores + _noise(uniform))


def one_noise_for_all(scores, uniform):
    """You used the first sample's noise for all, so all rankings are the same. Each sample has noise of its own."""
    return _gumbel(scores, uniform[:1].expand_as(uniform))


def ascending(scores, uniform):
    """You sorted in ascending order, so the worst item comes first."""
    return _gumbel(scores, uniform).flip(-1)


def no_noise(scores, uniform):
    """You sorted the scores without noise, so every sample is the most probable ranking."""
    return _best_first(scores.expand_as(uniform))


def noise_multiplied(scores, uniform):
    """You multiplied scores and noise. Add them."""
    return _best_first(scores * _noise(uniform))


def uniform_noise(scores, uniform):
    """You added the uniform numbers themselves. Turn them into Gumbel noise first."""
    return _best_first(scores + uniform)


def one_log_missing(scores, uniform):
    """You took one logarithm. Gumbel noise takes the log of the negative log."""
    return _best_first(scores - uniform.log())


def noise_subtracted(scores, uniform):
    """You subtracted the noise. Gumbel noise is not symmetric, so this is another distribution: check the signs."""
    return _best_first(scores - _noise(uniform))


def ranks_returned(scores, uniform):
    """You returned the rank of every item. Return the item at every place."""
    return _gumbel(scores, uniform).argsort(-1)


GUMBEL_MISTAKES = (
    one_noise_for_all, ascending, no_noise, noise_multiplied, uniform_noise, one_log_missing, noise_subtracted,
    ranks_returned,
)  # fmt: skip


def _draw_uniform(rng: np.random.Generator, size: int) -> tuple:
    """Scores and uniform numbers with no close decisions, which rounding might turn."""
    scores = distinct_scores(rng, size)
    while True:
        uniform = torch.tensor(rng.integers(10, 990, (size, size)) / 1000, dtype=torch.float32)
        decisive = torch.cat([scores + _noise(uniform), scores + uniform, scores - uniform.log()])
        if decisive.sort(-1).values.diff().min() > 1e-4:
            return scores, uniform
