"""How well does the student rank as the teacher does, and what does it write now? With bootstrap intervals.

Agreement is measured on given responses (the same before and after training); fresh samples show what changed in what
the student writes: the teacher's reward of them, and the student's health (length, finished answers, repetition).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import bootstrap, kendalltau

from padlab.candidates import check_candidates
from padlab.lm.models import LanguageModel
from padlab.phases.selection import calibrate
from padlab.phases.rewards import add_rewards
from padlab.phases.sampling import sample_responses
from padlab.rankings.large_n import js_divergence

if TYPE_CHECKING:
    from datasets import Dataset

UNITS = {
    "jsd": "nats, 0 = same distribution, ln 2 = 0.69 at most",
    "kendall_tau": "-1 to 1",
    "top1": "share of prompts, same best response",
    "pairwise_accuracy": "share of pairs in the teacher's order",
    "teacher_reward": "nats/token of fresh samples",
    "length": "tokens per response",
    "finished": "share of responses that ended by themselves",
    "repetition": "share of repeated 3-token sequences",
}
RESAMPLES = 4000


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its bootstrap interval.

    Args:
        value, low, high: mean and the ends of the 95 % interval.
        prompts: how many prompts it rests on.
    """

    value: float
    low: float
    high: float
    prompts: int

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class Report:
    """Measurements per prompt; printing it shows means with intervals.

    Args:
        per_prompt: name -> one number per prompt (NaN where undefined, e.g. tau of identical responses).
        table: the candidates that were measured.
    """

    per_prompt: dict[str, np.ndarray]
    table: Any = None

    def estimates(self) -> dict[str, Estimate]:
        """Mean and 95 % interval of every measurement."""
        return {name: estimate(values) for name, values in self.per_prompt.items()}

    def __str__(self) -> str:
        return "\n".join(f"{n:18} {e}   {UNITS.get(n, '')}" for n, e in self.estimates().items())

    __repr__ = __str__


def rank_agreement(
    student: LanguageModel,
    teacher: LanguageModel,
    heldout: Dataset,
    *,
    alpha: float = 0.0,
    beta: float = 10.0,
    match_scale: bool = False,
) -> Report:
    """Agreement of two models' rankings of the same responses.

    Args:
        student, teacher: the models; the student's rewards are computed anew, the teacher's only if the table has no
            `teacher_reward`.
        heldout: candidates with independent samples (not `distinct`, no `pool`).
        alpha: weight of `selection_prob` in the teacher's calibrated reward, 0 to 1.
        beta: nats/token to scores, > 0; only the divergence depends on it.
        match_scale: as in `padlab.calibrate`.

    Returns:
        Report with jsd (nats), kendall_tau (tau-b), top1, pairwise_accuracy (ties count one half).

    Raises:
        ValueError: missing column, alpha or beta out of range, or a number that is not finite (row named).
    """
    if not 0 < beta < float("inf"):
        raise ValueError(f"beta must be a positive number, got {beta}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1] (0 = likelihood alone), got {alpha}")
    table = check_candidates(heldout, ("selection_prob",) if alpha > 0 else ())
    if "teacher_reward" not in table.column_names:
        table = add_rewards(table, teacher, "teacher_reward")
    table = add_rewards(table, student, "student_reward")
    rows = []
    for entry in table:
        reward, chosen = torch.tensor(entry["teacher_reward"]), entry["selection_prob"] if alpha else None
        wanted = calibrate(reward, chosen, alpha, match_scale=match_scale)
        rows.append(agreement_of(entry["student_reward"], wanted.tolist(), beta))
    return Report({name: np.array([row[name] for row in rows]) for name in rows[0]}, table)


def agreement_of(
    student_reward: Sequence[float], teacher_reward: Sequence[float], beta: float = 10.0
) -> dict[str, float]:
    """Agreement on one prompt: jsd (nats), kendall_tau (NaN if one side does not rank at all), pairwise_accuracy, and
    top1 (share of the student's first places that are the teacher's; NaN if the teacher does not rank).

    >>> agreement_of([-1.0, -2.0], [-3.0, -4.0])["kendall_tau"]
    1.0
    """
    ours, theirs = np.asarray(student_reward, float), np.asarray(teacher_reward, float)
    p, q = (torch.tensor(beta * values, dtype=torch.float64) for values in (ours, theirs))
    return {
        "jsd": float(js_divergence(p, q).value),
        "kendall_tau": kendall_tau(ours, theirs),
        "top1": top1(ours, theirs),
        "pairwise_accuracy": pairs_in_order(student_reward, teacher_reward),
    }


def kendall_tau(score: Sequence[float] | np.ndarray, reference: Sequence[float] | np.ndarray) -> float:
    """Kendall's tau-b of two lists of n numbers, -1 to 1; NaN if one of them does not rank at all.

    >>> kendall_tau([3.0, 1.0, 2.0], [9.0, 7.0, 8.0])
    1.0
    """
    ranks = len(set(score)) > 1 and len(set(reference)) > 1
    return float(kendalltau(score, reference).statistic) if ranks else float("nan")


def top1(score: np.ndarray, reference: np.ndarray) -> float:
    """Share of the score's first places that are first places of the reference; NaN if the reference does not rank.

    >>> top1(np.array([2.0, 2.0, 1.0]), np.array([5.0, 4.0, 3.0]))
    0.5
    """
    first = score == score.max()
    return float((reference == reference.max())[first].mean()) if len(set(reference)) > 1 else np.nan


def pairs_in_order(
    score: Sequence[float], reference: Sequence[float], lengths: Sequence[int] | None = None, most: float = np.inf
) -> float:
    """Share of pairs in the reference's order; a pair that only the score ties counts one half.

    Args:
        score, reference: n numbers, higher is better; pairs that the reference ties are left out.
        lengths: n lengths (tokens or characters), > 0, for leaving out pairs of unlike length.
        most: longer / shorter, at most; infinity takes all pairs.

    Returns:
        0 to 1, or NaN where there is no such pair.

    >>> pairs_in_order([1.0, 2.0, 9.0], [1.0, 2.0, 0.0], [10, 11, 50], most=1.25)
    1.0
    """
    score, reference = np.asarray(score, float), np.asarray(reference, float)
    sizes = np.ones(len(score)) if lengths is None else np.asarray(lengths, float)
    i, j = np.triu_indices(len(score), 1)
    wanted = np.sign(reference[i] - reference[j])
    keep = (wanted != 0) & (np.maximum(sizes[i], sizes[j]) <= most * np.minimum(sizes[i], sizes[j]))
    agree = (1 + np.sign(score[i] - score[j]) * wanted)[keep] / 2
    return float(agree.mean()) if len(agree) else float("nan")


def evaluate_samples(
    student: LanguageModel, teacher: LanguageModel, prompts: Dataset | Sequence[str], n: int = 4, **sampling: Any
) -> Report:
    """What the student writes: independent samples with the teacher's reward, and the student's health.

    Args:
        student, teacher: the models.
        prompts: table or list of strings.
        n: samples per prompt.
        sampling: temperature, top_p, max_new_tokens, seed, folder as in `sample_responses`.

    Returns:
        Report with teacher_reward (nats/token), length (tokens), finished, repetition; its `table` holds the samples.
    """
    drawn = sample_responses(student, prompts, n, **sampling)
    table = add_rewards(drawn, teacher, "teacher_reward", folder=sampling.get("folder"))
    ids = table["response_ids"]
    measured = {
        "teacher_reward": [np.mean(r) for r in table["teacher_reward"]],
        "length": [np.mean([len(r) for r in row]) for row in ids],
        "finished": [np.mean(f) for f in table["finished"]],
        "repetition": [np.mean([repetition(r) for r in row]) for row in ids],
    }
    return Report({name: np.array(values, float) for name, values in measured.items()}, table)


def paired_differences(before: Report, after: Report) -> dict[str, Estimate]:
    """Paired differences after - before, prompt by prompt, with 95 % intervals.

    Raises:
        ValueError: the reports do not measure the same prompts.
    """
    texts = [None if r.table is None else list(r.table["prompt"]) for r in (before, after)]
    sizes = {len(values) for report in (before, after) for values in report.per_prompt.values()}
    if texts[0] != texts[1] or len(sizes) > 1:
        raise ValueError("paired differences need the same prompts in the same order in both reports")
    shared = [name for name in before.per_prompt if name in after.per_prompt]
    return {name: estimate(after.per_prompt[name] - before.per_prompt[name]) for name in shared}


def estimate(values: Sequence[float] | np.ndarray, seed: int = 0) -> Estimate:
    """Mean and 95 % percentile bootstrap interval over prompts; NaN entries are left out."""
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        only = float(known[0]) if len(known) else np.nan
        return Estimate(only, np.nan, np.nan, len(known))
    found = bootstrap((known,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(seed))
    low, high = found.confidence_interval
    return Estimate(float(known.mean()), float(low), float(high), len(known))


def repetition(ids: Sequence[int]) -> float:
    """Share of 3-token sequences that occurred before in the same response, 0 to 1.

    >>> repetition([1, 2, 3, 1, 2, 3])
    0.25
    """
    grams = [tuple(ids[k : k + 3]) for k in range(len(ids) - 2)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
