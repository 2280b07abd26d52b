"""Exercises of notebook 04: the vanilla loss, the Jensen-Shannon divergence, the loss of an accumulated step."""

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import torch
from torch import Tensor

from padlab.checks.verdict import Verdict, check, distinct_scores, shares
from padlab.rankings.losses import jensen_shannon, kl, reduce_losses, vpd_loss


def vpd(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(student_scores, teacher_scores)`: vanilla preference distillation.

    Write: the negative log-probability, under the student's Plackett-Luce distribution, of the teacher's most probable
    ranking; the mean over the prompts, a number in nats.

    - student_scores, teacher_scores: [prompts, n], beta * reward; no two of a prompt are equal.

    >>> padlab.checks.vpd(lambda student_scores, teacher_scores: ...).state
    'not attempted'
    """
    return check(function, _vpd, VPD_MISTAKES, _draw_scores, "vpd", seed)


def _vpd(student_scores: Tensor, teacher_scores: Tensor) -> Tensor:
    return vpd_loss(student_scores, teacher_scores)


def own_mode(student, teacher):
    """You used the student's own most probable ranking. The student is to learn the teacher's."""
    return _vpd(student, student)


def sign(student, teacher):
    """You returned the log-probability. A loss falls when the ranking becomes likelier: change the sign."""
    return -_vpd(student, teacher)


def roles_exchanged(student, teacher):
    """You exchanged the two: the ranking is the teacher's, its probability the student's."""
    return _vpd(teacher, student)


def worst_first(student, teacher):
    """You ranked the teacher's responses worst first. Sort its scores in descending order."""
    return _vpd(student, -teacher)


def summed(student, teacher):
    """You summed over the prompts. Take the mean."""
    return _vpd(student, teacher) * len(student)


def top_only(student, teacher):
    """You used the teacher's best response only. Go on with the choice among the rest."""
    return -student.log_softmax(-1).gather(-1, teacher.argmax(-1, keepdim=True)).mean()


VPD_MISTAKES = (own_mode, sign, roles_exchanged, worst_first, summed, top_only)


def _draw_scores(rng: np.random.Generator, size: int) -> tuple:
    prompts = int(rng.integers(2, 4))
    return distinct_scores(rng, prompts, size), distinct_scores(rng, prompts, size)


def jsd(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(log_p, log_q)`: the Jensen-Shannon divergence of two distributions.

    Write: the mean of the KL divergences of P and of Q from their mixture M = (P + Q)/2, a number in nats.

    - log_p, log_q: [rankings], log-probabilities; none is -inf.

    >>> padlab.checks.jsd(lambda log_p, log_q: ...).state
    'not attempted'
    """
    return check(function, jensen_shannon, JSD_MISTAKES, _draw_log_probs, "jsd", seed)


def _mixture(log_p: Tensor, log_q: Tensor) -> Tensor:
    return torch.logaddexp(log_p, log_q) - log(2)


def _mean_kl_from(log_m: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    return ((log_p.exp() * (log_p - log_m)).sum() + (log_q.exp() * (log_q - log_m)).sum()) / 2


def logs_mixed(log_p, log_q):
    """You averaged log-probabilities. M is the mean of the probabilities; take the log afterwards."""
    return _mean_kl_from((log_p + log_q) / 2, log_p, log_q)


def logs_mixed_normalised(log_p, log_q):
    """You averaged log-probabilities. M is the mean of the probabilities; take the log afterwards."""
    return _mean_kl_from(((log_p + log_q) / 2).log_softmax(0), log_p, log_q)


def kl_swapped(log_p, log_q):
    """You swapped the arguments of KL, as the released code does: KL(M || P) has no upper bound. Take the expectation
    under P, and then under Q."""
    log_m = _mixture(log_p, log_q)
    return (kl(log_m, log_p) + kl(log_m, log_q)) / 2


def half_missing(log_p, log_q):
    """You added the two divergences. Take their mean, so that the value never exceeds ln 2."""
    return 2 * jensen_shannon(log_p, log_q)


def mixture_not_halved(log_p, log_q):
    """You did not halve the mixture: P + Q sums to 2."""
    return _mean_kl_from(torch.logaddexp(log_p, log_q), log_p, log_q)


def one_sided(log_p, log_q):
    """You used the divergence of P only. Add that of Q, and halve."""
    return kl(log_p, _mixture(log_p, log_q))


def bits(log_p, log_q):
    """You used the logarithm to base 2. The unit is nats: use the natural one."""
    return jensen_shannon(log_p, log_q) / log(2)


JSD_MISTAKES = (logs_mixed, logs_mixed_normalised, kl_swapped, half_missing, mixture_not_halved, one_sided, bits)


def _draw_log_probs(rng: np.random.Generator, size: int) -> tuple:
    log_p, log_q = (torch.tensor(shares(rng, size) / 100, dtype=torch.float32).log() for _ in range(2))
    return log_p, log_q


def batch_loss(function: Any, seed: int | None = None) -> Verdict:
    """Check `f(losses_per_pass)`: the loss of one optimizer step that is accumulated over several passes.

    Write: the mean over all prompts of the step, a number; the same however the prompts are spread over the passes.

    - losses_per_pass: list of tensors, the losses (nats) of the prompts of each pass; their lengths differ.

    >>> padlab.checks.batch_loss(lambda losses_per_pass: ...).state
    'not attempted'
    """
    return check(function, _batch_loss, BATCH_MISTAKES, _draw_passes, "batch_loss", seed)


def _batch_loss(losses_per_pass: Sequence[Tensor]) -> Tensor:
    return reduce_losses(torch.cat(list(losses_per_pass)), "mean")


def mean_of_means(passes):
    """You averaged the means of the passes. A prompt in a short pass then counts more: divide the sum over all prompts
    by their number."""
    return sum(losses.mean() for losses in passes) / len(passes)


def sum_over_prompts(passes):
    """You summed the losses. Divide by the number of prompts, or the step grows with the batch."""
    return torch.cat(passes).sum()


def sum_of_means(passes):
    """You summed the means of the passes. Divide the sum over all prompts by their number."""
    return sum(losses.mean() for losses in passes)


def divided_by_passes(passes):
    """You divided by the number of passes. Divide by the number of prompts."""
    return torch.cat(passes).sum() / len(passes)


BATCH_MISTAKES = (mean_of_means, sum_over_prompts, sum_of_means, divided_by_passes)


def _draw_passes(rng: np.random.Generator, size: int) -> tuple:
    lengths = rng.permutation(np.arange(1, size + 1))[: max(2, size // 2)]
    return ([torch.tensor(rng.integers(1, 300, length) / 100, dtype=torch.float32) for length in lengths],)
