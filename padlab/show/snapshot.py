"""What two models make of the responses to one prompt: plain numbers, and what alpha and beta turn them into.

A `Snapshot` holds what models said; `preferences` mixes, scales and ranks it without a model, in milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from padlab.conversations import transcript
from padlab.rankings.calibration import calibrate
from padlab.rankings.goodness_of_fit import GoodnessOfFit, goodness_of_fit
from padlab.rankings.intervals import Interval
from padlab.rankings.large_n import js_divergence
from padlab.rankings.metrics import kendall_tau
from padlab.rankings.plackett_luce import PlackettLuce
from padlab.rankings.uncertainty import bootstrap_rewards, bootstrap_selection
from padlab.show.html.safe import letter

ROLES = ("before", "student", "teacher")
SHOWN = 8  # rankings of more than 4 responses; the others are summed up
ENUMERATED = 8  # responses up to which all rankings are listed

Tokens = tuple[tuple[str, ...], tuple[float, ...]]  # the texts of a response's tokens, and their log-probabilities


@dataclass(frozen=True)
class Snapshot:
    """What models said about the n responses to one prompt.

    Args:
        prompt: the conversation as one text.
        responses: n texts.
        rewards: role ("student", "teacher", "before") -> n rewards, nats/token; a role may be missing.
        tokens: role -> n pairs (token texts, log-probabilities); roles may be missing.
        finished: n; True: the end of the turn counts; False: sampled, and it did not end; None: a text without an end.
        selection_prob: n, the teacher's selection probabilities; None where it was not asked.
        votes: n x n, `selection_votes` of pairwise questions; None where they are not known.
        option_mass, position_bias, order_consistency: as in `add_selection_probs`; NaN where not known.
    """

    prompt: str
    responses: tuple[str, ...]
    rewards: Mapping[str, np.ndarray]
    tokens: Mapping[str, Sequence[Tokens]] = field(default_factory=dict)
    finished: tuple[bool | None, ...] = ()
    selection_prob: np.ndarray | None = None
    votes: np.ndarray | None = None
    option_mass: float = float("nan")
    position_bias: float = float("nan")
    order_consistency: float = float("nan")
    _drawn: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def fit(self) -> GoodnessOfFit | None:
        """How far the pairwise answers, averaged over both orders, are from any Plackett-Luce distribution."""
        if self.votes is None or len(self.responses) < 3:
            return None
        odds = torch.logit(torch.as_tensor(self.votes, dtype=torch.float64).clamp(1e-6, 1 - 1e-6))
        return goodness_of_fit(torch.sigmoid((odds - odds.T) / 2))

    def resampled_rewards(self, role: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A role's rewards, and the same with each response's tokens resampled; kept for the next alpha and beta."""
        if role not in self._drawn:
            logps = [logps for _, logps in self.tokens[role]]
            self._drawn[role] = bootstrap_rewards(logps, generator=torch.Generator().manual_seed(0))
        return self._drawn[role]

    @cached_property
    def resampled_selection(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The selection probabilities, and the same with the answers resampled."""
        return bootstrap_selection(torch.as_tensor(self.votes), generator=torch.Generator().manual_seed(0))


def snapshot_of_row(entry: Mapping[str, Any]) -> Snapshot:
    """The snapshot that a row of a candidates table holds.

    Args:
        entry: a row with prompt, responses, and at least one column of rewards (nats/token).

    Raises:
        ValueError: the row has neither `student_reward` nor `teacher_reward`.

    >>> row = {"prompt": "Hi", "responses": ["a", "b"], "teacher_reward": [-1.0, -2.0]}
    >>> list(snapshot_of_row(row).rewards)
    ['teacher']
    """
    columns = {role: entry.get(f"{role}_reward") for role in ROLES}
    rewards = {role: np.asarray(values, float) for role, values in columns.items() if values is not None}
    if not rewards:
        raise ValueError("the row has no student_reward and no teacher_reward: padlab.add_rewards adds them")
    optional = {name: entry.get(name) for name in ("option_mass", "position_bias", "order_consistency")}
    votes, chosen = entry.get("selection_votes"), entry.get("selection_prob")
    square = votes is not None and len(votes) == len(votes[0]) and abs(votes[0][0] - 0.5) < 1e-9  # pairwise votes
    return Snapshot(
        transcript(entry),
        tuple(entry["responses"]),
        rewards,
        finished=tuple(entry.get("finished") or ()),
        selection_prob=None if chosen is None else np.asarray(chosen, float),
        votes=np.asarray(votes, float) if square else None,
        **{name: value for name, value in optional.items() if value is not None},
    )


@dataclass(frozen=True)
class Preferences:
    """The distributions over rankings that a snapshot gives at one alpha and beta.

    Args:
        alpha: weight of the selection probability in the teacher's reward.
        beta: scale from nats/token to scores.
        scores: role -> n scores, beta * reward; the teacher's reward calibrated.
        top_choice: role -> n probabilities of standing first.
        expected_rank: role -> n, 1 is best.
        rankings: the most probable ones (of the teacher and the student together), best item first.
        shares, rest: role -> the probabilities of these rankings, and of all others together.
        pairwise: role -> n x n, P(row before column).
        marginals: role -> n x n, P(item at rank).
        entropy: role -> nats.
        agreement: "jsd" (nats, 0 to ln 2) and "tau" (-1 to 1, NaN where one does not rank) of student and teacher, and
            "jsd before", "tau before" where there is an untrained student.
    """

    alpha: float
    beta: float
    scores: Mapping[str, np.ndarray]
    top_choice: Mapping[str, np.ndarray]
    expected_rank: Mapping[str, np.ndarray]
    rankings: tuple[tuple[int, ...], ...]
    shares: Mapping[str, np.ndarray]
    rest: Mapping[str, float]
    pairwise: Mapping[str, np.ndarray]
    marginals: Mapping[str, np.ndarray]
    entropy: Mapping[str, float]
    agreement: Mapping[str, float]


def preferences(snapshot: Snapshot, alpha: float, beta: float) -> Preferences:
    """Rewards to distributions over rankings; no model is called.

    Args:
        snapshot: of n = 2 to 20 responses; above 8 no rankings are listed.
        alpha: 0 (likelihood alone) to 1 (selection alone); above 0 needs selection probabilities.
        beta: above 0.

    Raises:
        ValueError: alpha or beta out of range, alpha above 0 without selection probabilities, fewer than 2 responses.

    >>> both = Snapshot("?", ("a", "b"), {"student": np.array([-1.0, -1.0]), "teacher": np.array([-1.0, -2.0])})
    >>> preferences(both, 0.0, 1.0).top_choice["teacher"].round(3)
    array([0.731, 0.269])
    """
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta must be a positive number, got {beta}")
    if len(snapshot.responses) < 2:
        raise ValueError("a ranking needs at least two responses; add one")
    rewards = {role: torch.as_tensor(values) for role, values in snapshot.rewards.items()}
    if alpha > 0 and snapshot.selection_prob is None:
        raise ValueError(f"alpha is {alpha:g}, but the teacher was not asked to choose: ask it, or set alpha to 0")
    if "teacher" in rewards:
        rewards["teacher"] = calibrate(rewards["teacher"], snapshot.selection_prob, alpha)
    models = {role: PlackettLuce(beta * rewards[role].double()) for role in ROLES if role in rewards}
    each = lambda method: {role: method(model).numpy() for role, model in models.items()}  # noqa: E731
    return Preferences(
        alpha,
        beta,
        each(lambda m: m.scores),
        each(PlackettLuce.top_choice),
        each(PlackettLuce.expected_rank),
        *_rankings(models),
        each(PlackettLuce.pairwise),
        each(PlackettLuce.rank_marginals),
        {role: float(model.entropy()) for role, model in models.items()},
        _agreement(models),
    )


def _rankings(models: Mapping[str, PlackettLuce]) -> tuple[tuple, dict[str, np.ndarray], dict[str, float]]:
    """The most probable rankings, their probabilities per role, and what is left; nothing above `ENUMERATED` items."""
    first = next(iter(models.values()))
    if first.items > ENUMERATED:
        return (), {role: np.zeros(0) for role in models}, dict.fromkeys(models, 1.0)
    probabilities = {role: model.all_log_probs().exp() for role, model in models.items()}
    total = torch.stack([p for role, p in probabilities.items() if role != "before"] or [*probabilities.values()]).sum(
        0
    )
    best = total.topk(len(total) if first.items <= 4 else SHOWN).indices
    rankings, _ = first.enumerate()
    shares = {role: p[best].numpy() for role, p in probabilities.items()}
    rest = {role: max(0.0, 1.0 - float(p.sum())) for role, p in shares.items()}
    return tuple(map(tuple, rankings[best].tolist())), shares, rest


def _agreement(models: Mapping[str, PlackettLuce]) -> dict[str, float]:
    """Jensen-Shannon divergence and Kendall's tau of the student, trained and untrained, with the teacher."""
    found = {}
    for role in ("student", "before"):
        if role in models and "teacher" in models:
            model, teacher = models[role], models["teacher"]
            after = "" if role == "student" else " before"
            found[f"jsd{after}"] = float(js_divergence(model, teacher).value)
            found[f"tau{after}"] = float(kendall_tau(model.scores, teacher.scores))
    return found


def first_place_interval(snapshot: Snapshot, role: str, alpha: float, beta: float) -> Interval | None:
    """Bootstrap interval of each response's probability of standing first, as `bootstrap_preference` gives it.

    Args:
        snapshot: what the models said.
        role: alpha counts for the teacher alone; its answers are resampled too.
        alpha, beta: as in `preferences`.

    Returns:
        95 % interval, n each; None where the role's tokens, or the answers for alpha above 0, are not known.
    """
    alpha = alpha if role == "teacher" else 0.0
    if role not in snapshot.tokens or (alpha > 0 and snapshot.votes is None):
        return None
    rewards, drawn = snapshot.resampled_rewards(role)
    if alpha > 0:
        chosen, drawn_chosen = snapshot.resampled_selection
        rewards, drawn = ((1 - alpha) * r + alpha * s.log() for r, s in ((rewards, chosen), (drawn, drawn_chosen)))
    ends = torch.softmax(beta * drawn, -1).quantile(torch.tensor([0.025, 0.975], dtype=drawn.dtype), 0)
    return Interval(torch.softmax(beta * rewards, -1), ends[0], ends[1], len(drawn))


def ranking_name(ranking: Sequence[int]) -> str:
    """A ranking as text, best first.

    >>> ranking_name((1, 0))
    'B > A'
    """
    return " > ".join(letter(k) for k in ranking)
