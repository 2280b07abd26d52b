"""How sure is a preference (a distribution over rankings)? Bootstrap intervals from its tokens and votes."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from padlab.rankings.calibration import SELECTION_FLOOR
from padlab.rankings.intervals import Interval, wilson_interval
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.rankings.subsets import SUBSET_LIMIT


def bootstrap_preference(
    token_logps: Sequence[Sequence[float] | Tensor],
    selection_votes: Sequence[Sequence[float]] | Tensor | None = None,
    alpha: float = 0.0,
    beta: float = 10.0,
    votes_are: str = "pairwise",
    num_resamples: int = 1000,
    level: float = 0.95,
    generator: torch.Generator | None = None,
) -> dict[str, Interval]:
    """Bootstrap intervals of one prompt's preference, from the token log-probabilities and votes that it rests on.

    Scores are beta * ((1 - alpha) * mean token log-probability + alpha * log p_sel), as in the method. Joins
    `bootstrap_rewards`, `bootstrap_selection` and `preference_intervals`; each resample draws tokens and votes.

    Args:
        token_logps: n responses, each the log-probabilities of its tokens (nats), at least one token.
        selection_votes: n x n, see `bootstrap_selection`; required where alpha is not 0.
        alpha: weight of the selection probability, 0 (reward only) to 1 (selection only).
        beta: scale of the scores; paper: 10.
        votes_are, num_resamples, level, generator: as in the three functions.
    Returns:
        One Interval per name, see `preference_intervals`.
    Raises:
        ValueError: a response without tokens, alpha above 0 without votes, or votes that are not probabilities.

    >>> bootstrap_preference([[-1.0, -1.0], [-2.0]], beta=1.0)["pairwise"].estimate[0, 1]  # sigmoid(1)
    tensor(0.7311, dtype=torch.float64)
    """
    rewards, resampled_rewards = bootstrap_rewards(token_logps, num_resamples, generator)
    if alpha:
        if selection_votes is None:
            raise ValueError(f"alpha is {alpha}, but there are no selection_votes: pass them, or set alpha to 0")
        selection, resampled_selection = bootstrap_selection(selection_votes, votes_are, num_resamples, generator)
        rewards = (1 - alpha) * rewards + alpha * selection.log()
        resampled_rewards = (1 - alpha) * resampled_rewards + alpha * resampled_selection.log()
    return preference_intervals(beta * rewards, beta * resampled_rewards, level)


def bootstrap_rewards(
    token_logps: Sequence[Sequence[float] | Tensor],
    num_resamples: int = 1000,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, " items"], Float[Tensor, "resamples items"]]:
    """Mean token log-probabilities, and the same for responses of as many tokens, resampled with replacement.

    The spread shows how much a reward depends on few tokens; it is too small where neighbouring tokens are correlated.

    Args:
        token_logps: n responses, each a list of token log-probabilities (nats).
        num_resamples: number of resamples.
        generator: random number generator of the resamples.
    Returns:
        The rewards (n, nats/token) and the resampled rewards (resamples x n), float64.
    Raises:
        ValueError: a response without tokens or with a value that is not finite (response named).

    >>> bootstrap_rewards([[-1.0, -3.0], [-2.0]])[0].tolist()
    [-2.0, -2.0]
    """
    responses = [torch.as_tensor(logps, dtype=torch.float64).flatten() for logps in token_logps]
    for index, response in enumerate(responses):
        if len(response) == 0 or not response.isfinite().all():
            problem = "no tokens" if len(response) == 0 else "a token log-probability that is not finite"
            raise ValueError(f"token_logps: response {index} has {problem}; leave that response out")
    draws = [torch.randint(len(r), (num_resamples, len(r)), generator=generator) for r in responses]
    resampled = [response[tokens].mean(-1) for response, tokens in zip(responses, draws, strict=True)]
    return torch.stack([response.mean() for response in responses]), torch.stack(resampled, -1)


def bootstrap_selection(
    selection_votes: Sequence[Sequence[float]] | Shaped[Tensor, "votes items"],
    votes_are: str = "pairwise",
    num_resamples: int = 1000,
    generator: torch.Generator | None = None,
) -> tuple[Float[Tensor, " items"], Float[Tensor, "resamples items"]]:
    """Selection probabilities, and the same with the teacher's answers resampled with replacement.

    Args:
        selection_votes: n x n probabilities. "pairwise": entry i, j is the probability of choosing i when i is shown
            first and j second (the diagonal is ignored). "n-way": row r is the answer to rotation r over all
            responses, in the order of the responses. Probabilities below `SELECTION_FLOOR` = 1e-6 count as 1e-6.
        votes_are: "pairwise" or "n-way".
        num_resamples: number of resamples.
        generator: random number generator of the resamples.
    Returns:
        p_sel (n, sum 1) and the resampled p_sel (resamples x n), float64. Pairwise: each pair draws two of its two
        answers, after the mean position bias is removed, so that only further disagreement between the two orders
        counts. N-way: rotations are resampled; the position bias stays in, so that the interval is wide.
    Raises:
        ValueError: votes outside 0 .. 1, a table that is not square, or unknown `votes_are`.

    >>> bootstrap_selection([[0.5, 0.8], [0.2, 0.5]])[0]  # 0 is chosen with 0.8 in both orders
    tensor([0.8000, 0.2000], dtype=torch.float64)
    """
    votes = torch.as_tensor(selection_votes, dtype=torch.float64)
    square = votes.dim() == 2 and votes.shape[0] == votes.shape[1]
    valid = (votes >= 0) & (votes <= 1)
    if votes_are == "pairwise" and square:
        valid.fill_diagonal_(True)
    if not square or not valid.all():
        raise ValueError(f"selection_votes {tuple(votes.shape)}: expected n x n probabilities between 0 and 1")
    if votes_are == "pairwise":
        return _pairwise_selection(votes.clamp(SELECTION_FLOOR, 1 - SELECTION_FLOOR), num_resamples, generator)
    if votes_are == "n-way":
        log_votes = votes.clamp(min=SELECTION_FLOOR).log()
        rotations = torch.randint(len(votes), (num_resamples, len(votes)), generator=generator)
        return log_votes.mean(0).softmax(-1), log_votes[rotations].mean(1).softmax(-1)
    raise ValueError(f"votes_are is {votes_are!r}: expected 'pairwise' or 'n-way'")


def _pairwise_selection(votes: Tensor, num_resamples: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    items = len(votes)
    i, j = torch.triu_indices(items, items, 1)
    log_odds = torch.stack([votes[i, j].logit(), -votes[j, i].logit()])  # for i over j: i shown first, i shown second
    bias = (log_odds[0] - log_odds[1]).mean() / 2 if len(i) else 0.0
    debiased = log_odds - bias * torch.tensor([[1.0], [-1.0]], dtype=votes.dtype)
    orders = torch.randint(2, (num_resamples, 2, len(i)), generator=generator)
    resampled = debiased.expand(num_resamples, -1, -1).gather(1, orders).mean(1)
    return tuple(_selection_from_odds(odds, i, j, items) for odds in (log_odds.mean(0), resampled))


def _selection_from_odds(log_odds: Tensor, i: Tensor, j: Tensor, items: int) -> Tensor:
    """p_sel = (2/n) * mean over opponents of P(i chosen over j)."""
    wins = log_odds.new_zeros(*log_odds.shape[:-1], items)
    wins = wins.index_add(-1, i, log_odds.sigmoid()).index_add(-1, j, (-log_odds).sigmoid())
    return wins * 2 / (items * (items - 1)) if items > 1 else torch.ones_like(wins)


def preference_intervals(
    scores: Float[Tensor, " items"], drawn_scores: Float[Tensor, "resamples items"], level: float = 0.95
) -> dict[str, Interval]:
    """Percentile intervals of the properties of a preference, over resampled scores.

    Args:
        scores: n, from all the data (beta * reward).
        drawn_scores: resamples x n, the same from resampled data.
        level: share of the resamples inside each interval, between 0 and 1.
    Returns:
        Intervals "scores" (minus their mean: only differences count), "top_choice", "expected_rank" (n each),
        "pairwise" (n x n), "entropy" (nats, n up to 20), and "same_mode": the share of resamples with the same most
        probable ranking as the data, with its Wilson interval.
    Raises:
        ValueError: level outside 0 .. 1.

    >>> print(preference_intervals(torch.tensor([1.0, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))["same_mode"])
    +0.500 [+0.095, +0.905]
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: expected a share between 0 and 1, such as 0.95")
    preference, resampled = PlackettLuce(scores), PlackettLuce(drawn_scores)
    properties = {
        "scores": lambda p: p.scores - p.scores.mean(-1, keepdim=True),
        "top_choice": PlackettLuce.top_choice,
        "expected_rank": PlackettLuce.expected_rank,
        "pairwise": PlackettLuce.pairwise,
    }
    if preference.items <= SUBSET_LIMIT:
        properties["entropy"] = PlackettLuce.entropy
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=resampled.scores.dtype)
    intervals = {
        name: Interval(value(preference), *value(resampled).quantile(ends, 0), len(drawn_scores))
        for name, value in properties.items()
    }
    same_mode = (resampled.mode == preference.mode).all(-1).to(resampled.scores.dtype)
    return intervals | {"same_mode": wilson_interval(same_mode.sum(), len(same_mode), level)}
