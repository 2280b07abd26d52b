"""The losses: VPD and PPD over rankings of n responses (PAD, phase 3), and the baselines SFT, DPO and SimPO.

Up to n = 8, PPD is written out over all n! rankings: log P, log Q, log M, and the mean of two KLs, see
`jensen_shannon`. Larger n, streaming and estimates are in large_n.py.
"""

from math import log

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid

from padlab.rankings.checks import FILLER, Numbers, as_numbers, check_same_shape
from padlab.rankings.large_n import is_large, large_divergence
from padlab.rankings.plackett_luce import PlackettLuce

REDUCTIONS = ("mean", "sum", "none")


def vpd_loss(
    student_scores: Float[Tensor, "*prompts items"] | Numbers,
    teacher_scores: Float[Tensor, "*prompts items"] | Numbers,
    mask: Shaped[Tensor, "..."] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """Vanilla preference distillation: L = -log P(r), in nats, for the teacher's ranking r of the responses.

    P(r) = prod_k exp(s[r_k]) / sum_{j >= k} exp(s[r_j]), the student's Plackett-Luce distribution with scores s; r has
    the teacher's scores in descending order.

    Args:
        student_scores: prompts x n, beta * student reward (nats); paper: beta = 10.
        teacher_scores: prompts x n; only their order counts. Of equal scores, the lower index is ranked first; the
            loss then depends on that choice (`loss_diagnostics` counts the ties).
        mask: True where the response exists; None means that all do.
        reduction: "mean" over the prompts, "sum", or "none" for one loss per prompt.
    Returns:
        At least 0. One response gives 0; student = teacher gives -log P of the most probable ranking, not 0.
    Raises:
        ValueError: a score that is not finite (row and item are named), shapes that differ, unknown reduction.

    >>> vpd_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 1.0]]))  # ln 2: the student has no preference
    tensor(0.6931)
    """
    student, teacher = _distributions(student_scores, teacher_scores, mask)
    teacher_ranking = teacher.mode
    return reduce_losses(-student.log_prob(teacher_ranking), reduction)


def ppd_loss(
    student_scores: Float[Tensor, "*prompts items"] | Numbers,
    teacher_scores: Float[Tensor, "*prompts items"] | Numbers,
    divergence: str = "js",
    mask: Shaped[Tensor, "..."] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """Probabilistic preference distillation: L = JSD(P, Q), in nats, over all rankings of the responses.

    JSD(P, Q) = 1/2 KL(P || M) + 1/2 KL(Q || M), M = (P + Q)/2. P is the student's Plackett-Luce distribution, Q the
    teacher's.

    Args:
        student_scores: prompts x n, beta * student reward (nats); paper: beta = 10.
        teacher_scores: prompts x n, beta * calibrated teacher reward. Gradients reach them too if they require it.
        divergence: "js" (the paper's; 0 to ln 2; above n = 8 an estimate, see `js_divergence`), "forward_kl" =
            KL(Q || P), "reverse_kl" = KL(P || Q), or "released", the form of the published code (see
            `released_divergence`).
        mask: True where the response exists; None means that all do.
        reduction: "mean" over the prompts, "sum", or "none" for one loss per prompt.
    Returns:
        At least 0. Student = teacher (up to a constant added to the scores) gives 0 with gradient 0, to rounding; so
        does a single response.
    Raises:
        ValueError: a score that is not finite (row and item are named), shapes that differ, unknown names,
            n above 20 for a KL, above 10 for "released".

    >>> ppd_loss(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[2.0, 1.0, 0.0]]))
    tensor(0.)
    """
    if divergence not in DIVERGENCES:
        raise ValueError(f"divergence is {divergence!r}: expected one of {', '.join(DIVERGENCES)}")
    student, teacher = _distributions(student_scores, teacher_scores, mask)
    if is_large(student) and divergence != "released":
        losses = large_divergence(student, teacher, divergence)
    else:
        log_p, log_q = student.all_log_probs(), teacher.all_log_probs()  # prompts x n! rankings
        losses = DIVERGENCES[divergence](log_p, log_q)
    return reduce_losses(losses.to(student.scores.dtype), reduction)


def jensen_shannon(
    log_p: Float[Tensor, "*prompts rankings"], log_q: Float[Tensor, "*prompts rankings"]
) -> Float[Tensor, "*prompts"]:
    """JSD(P, Q) = 1/2 KL(P || M) + 1/2 KL(Q || M), M = (P + Q)/2, in nats: 0 to ln 2, symmetric.

    Args:
        log_p, log_q: log-probabilities (nats) of the same n! rankings, each prompt's summing to 1 as probabilities.

    >>> jensen_shannon(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.75, 0.25]).log())
    tensor(0.0338)
    """
    log_m = torch.logaddexp(log_p, log_q) - log(2)
    return (kl(log_p, log_m) + kl(log_q, log_m)) / 2


def kl(log_p: Float[Tensor, "... rankings"], log_q: Float[Tensor, "... rankings"]) -> Float[Tensor, "..."]:
    """KL(P || Q) = sum_r P(r) (log P(r) - log Q(r)), in nats: 0 to infinity. Arguments as in `jensen_shannon`.

    >>> kl(torch.tensor([0.5, 0.5]).log(), torch.tensor([0.75, 0.25]).log())
    tensor(0.1438)
    """
    value = (log_p.exp() * (log_p - log_q)).sum(-1)
    return value + (value.clamp(min=0) - value).detach()  # no rounding below 0; the gradient stays as it is


def released_divergence(
    log_p: Float[Tensor, "*prompts rankings"], log_q: Float[Tensor, "*prompts rankings"]
) -> Float[Tensor, "*prompts"]:
    """1/2 KL(M || P) + 1/2 KL(M || Q), M = 1/2 sum over the batch of (P + Q): the form of the published code.

    Not a Jensen-Shannon divergence; kept to reproduce the published curves. Two things differ. The arguments of KL
    are swapped, so that the value has no upper bound. And M sums over all prompts of the batch, so that it sums to the
    batch size, and the loss of one prompt depends on the others. With one prompt only the first difference remains.
    Arguments as in `jensen_shannon`.

    Raises:
        ValueError: a prompt with absent responses.

    >>> released_divergence(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log())
    tensor([0.0348])
    """
    if (log_p < FILLER / 2).any():
        raise ValueError("divergence='released' mixes the prompts, so all need the same n: remove absent items first")
    rankings = log_p.shape[-1]
    log_m = torch.cat([log_p.reshape(-1, rankings), log_q.reshape(-1, rankings)]).logsumexp(0) - log(2)
    return (kl(log_m, log_p) + kl(log_m, log_q)) / 2


DIVERGENCES = {  # P: the student's distribution, Q: the teacher's
    "js": jensen_shannon,
    "forward_kl": lambda log_p, log_q: kl(log_q, log_p),
    "reverse_kl": kl,
    "released": released_divergence,
}


def sft_loss(response_log_probs: Float[Tensor, "*prompts"] | Numbers, reduction: str = "mean") -> Float[Tensor, "*out"]:
    """Supervised fine-tuning: L = -(mean token log-probability of the response to imitate), in nats/token.

    Args:
        response_log_probs: one value per prompt, the mean over the response's tokens (nats/token), <= 0. So every
            prompt has the same weight, whatever the length of its response.
        reduction: "mean", "sum" or "none".

    >>> sft_loss(torch.tensor([-1.0, -3.0]))
    tensor(2.)
    """
    return reduce_losses(-as_numbers(response_log_probs), reduction)


def dpo_loss(
    policy_chosen: Float[Tensor, "*pairs"] | Numbers,
    policy_rejected: Float[Tensor, "*pairs"] | Numbers,
    reference_chosen: Float[Tensor, "*pairs"] | Numbers,
    reference_rejected: Float[Tensor, "*pairs"] | Numbers,
    beta: float = 0.1,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """Direct preference optimization (Rafailov et al. 2023, eq. 7): L = -log sigmoid(margin), in nats.

    margin = beta * [(policy - reference)(chosen) - (policy - reference)(rejected)], of summed log-probabilities.

    Args:
        policy_chosen, policy_rejected: *sum* of the response's token log-probabilities (nats) under the model
            in training, one per pair.
        reference_chosen, reference_rejected: the same under the model before training; no gradient.
        beta: strength of the tie to the reference, > 0; paper: 0.1.
        reduction: "mean", "sum" or "none".
    Returns:
        At least 0; ln 2 where policy = reference.
    Raises:
        ValueError: shapes that differ, or unknown reduction.

    >>> dpo_loss(*torch.tensor([[-9.0], [-9.0], [-9.0], [-9.0]]))
    tensor(0.6931)
    """
    given = {
        "policy_chosen": policy_chosen, "policy_rejected": policy_rejected,
        "reference_chosen": reference_chosen, "reference_rejected": reference_rejected,
    }  # fmt: skip
    given = {name: as_numbers(values) for name, values in given.items()}
    check_same_shape(**given)
    policy_chosen, policy_rejected, reference_chosen, reference_rejected = given.values()
    margin = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    return reduce_losses(-logsigmoid(margin), reduction)


def simpo_loss(
    chosen: Float[Tensor, "*pairs"] | Numbers,
    rejected: Float[Tensor, "*pairs"] | Numbers,
    beta: float = 2.0,
    gamma: float = 1.0,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """SimPO (Meng et al. 2024, eq. 6), no reference model: L = -log sigmoid(beta * (chosen - rejected) - gamma).

    Args:
        chosen, rejected: *mean* token log-probability of the response (nats/token), one per pair.
        beta: scale of the reward, > 0; paper: 2.0 (base models) to 2.5 (instruction-tuned).
        gamma: margin that the scaled difference must exceed, >= 0; paper: gamma/beta from 0.1 to 0.8, 0.5 for
            Llama-3 base, hence 1.0 here.
        reduction: "mean", "sum" or "none".
    Raises:
        ValueError: shapes that differ, or unknown reduction.

    >>> simpo_loss(torch.tensor([-0.5]), torch.tensor([-1.0]))  # the margin is just met: ln 2
    tensor(0.6931)
    """
    chosen, rejected = as_numbers(chosen), as_numbers(rejected)
    check_same_shape(chosen=chosen, rejected=rejected)
    return reduce_losses(-logsigmoid(beta * (chosen - rejected) - gamma), reduction)


def _distributions(
    student_scores: Tensor | Numbers, teacher_scores: Tensor | Numbers, mask: Tensor | None
) -> list[PlackettLuce]:
    student_scores, teacher_scores = as_numbers(student_scores), as_numbers(teacher_scores)
    check_same_shape(student_scores=student_scores, teacher_scores=teacher_scores)
    distributions = []
    for name, scores in {"student_scores": student_scores, "teacher_scores": teacher_scores}.items():
        try:
            distributions.append(PlackettLuce(scores, mask))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return distributions


def reduce_losses(losses: Tensor, reduction: str) -> Tensor:
    """Mean or sum of the prompts' losses, or one per prompt ("none"); ValueError for another word."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}: expected one of {', '.join(REDUCTIONS)}")
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()
