"""What is minimised: VPD and PPD over rankings of n responses, and the baselines SFT, DPO, SimPO."""

from math import log

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn.functional import logsigmoid

from padlab.rankings.checks import working_dtype
from padlab.rankings.large_n import js_divergence
from padlab.rankings.enumeration import check_enumerable, ranking_log_probs
from padlab.rankings.plackett_luce import PlackettLuce, kl_divergence

REDUCTIONS = ("mean", "sum", "none")
DIVERGENCES = ("js", "forward_kl", "reverse_kl", "released")


def vpd_loss(
    student_scores: Float[Tensor, "*prompts items"],
    teacher_scores: Float[Tensor, "*prompts items"],
    mask: Shaped[Tensor, "..."] | None = None,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """Vanilla preference distillation: minus the student's log-probability of the teacher's ranking, in nats.

    Args:
        student_scores: prompts x n, beta * student reward (nats); paper: beta = 10.
        teacher_scores: prompts x n; only their order counts. Equal scores rank the lower item number first:
            the loss then depends on that choice (`loss_diagnostics` counts the ties).
        mask: True where the response exists; None means that all do.
        reduction: "mean" over the prompts, "sum", or "none" for one loss per prompt.
    Returns:
        At least 0. One response gives 0; student = teacher gives minus the log-probability of the mode, not 0.
    Raises:
        ValueError: a score that is not finite (row and item are named), shapes that differ, unknown reduction.

    >>> vpd_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 1.0]]))  # ln 2: the student does not know
    tensor(0.6931)
    """
    student, teacher = _distributions(student_scores, teacher_scores, mask)
    return _reduce(-student.log_prob(teacher.mode), reduction)


def ppd_loss(
    student_scores: Float[Tensor, "*prompts items"],
    teacher_scores: Float[Tensor, "*prompts items"],
    divergence: str = "js",
    mask: Shaped[Tensor, "..."] | None = None,
    reduction: str = "mean",
    method: str = "auto",
    num_samples: int = 4000,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*out"]:
    """Probabilistic preference distillation: a divergence between two distributions over rankings, in nats.

    Args:
        student_scores: prompts x n, beta * student reward (nats); paper: beta = 10.
        teacher_scores: prompts x n, beta * calibrated teacher reward. Gradients reach them too if they ask for it.
        divergence: "js" (the paper's; 0 to ln 2), "forward_kl" = KL(teacher || student), "reverse_kl" =
            KL(student || teacher), or "released", the form of the published code (see `released_divergence`).
        mask: True where the response exists; None means that all do.
        reduction: "mean" over the prompts, "sum", or "none" for one loss per prompt.
        method, num_samples, generator: for "js", see `js_divergence`; n up to 8 is exact by default.
    Returns:
        0 with gradient 0 where student = teacher (up to a shift of the scores) and where only one response exists.
    Raises:
        ValueError: a score that is not finite (row and item are named), shapes that differ, unknown names,
            n above 20 for a KL, above 10 for "released".

    >>> ppd_loss(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[2.0, 1.0, 0.0]]))
    tensor(0.)
    """
    student, teacher = _distributions(student_scores, teacher_scores, mask)
    if divergence == "js":
        losses = js_divergence(student, teacher, method, num_samples, generator).value
    elif divergence == "forward_kl":
        losses = kl_divergence(teacher, student)
    elif divergence == "reverse_kl":
        losses = kl_divergence(student, teacher)
    elif divergence == "released":
        losses = released_divergence(student, teacher)
    else:
        raise ValueError(f"divergence is {divergence!r}: expected one of {', '.join(DIVERGENCES)}")
    return _reduce(losses.to(student.scores.dtype), reduction)


def released_divergence(student: PlackettLuce, teacher: PlackettLuce) -> Float[Tensor, "*prompts"]:
    """The form of the published code, kept to reproduce its curves; not a Jensen-Shannon divergence.

    Two differences from `js_divergence`: the KL has swapped arguments, 1/2 KL(M || P) + 1/2 KL(M || Q), which has
    no bound; and M = 1/2 sum over the *batch* of (P + Q), so that prompts pull on one another and M sums to the
    batch size. For one prompt only the first difference remains.

    Raises:
        ValueError: n above 10, a batch too large for one tensor, or prompts with absent items.
    """
    if student.mask is not None and not student.mask.all():
        raise ValueError("divergence='released' mixes the prompts, so all need the same n: drop absent items first")
    check_enumerable(student.items, rows=student.batch_shape.numel())
    dtype = working_dtype(student.scores.device)
    log_p, log_q = (ranking_log_probs(d.scores.to(dtype).reshape(-1, d.items)) for d in (student, teacher))
    log_m = torch.cat([log_p, log_q]).logsumexp(0) - log(2)
    losses = (log_m.exp() * (log_m - (log_p + log_q) / 2)).sum(-1)
    return losses.reshape(student.batch_shape).to(student.scores.dtype)


def sft_loss(response_log_probs: Float[Tensor, "*prompts"], reduction: str = "mean") -> Float[Tensor, "*out"]:
    """Supervised fine-tuning: minus the mean token log-probability of the response to imitate, in nats per token.

    Args:
        response_log_probs: one value per prompt, the mean over the response's tokens (nats/token), <= 0. Every
            prompt then counts alike, whatever the length of its response.
        reduction: "mean", "sum" or "none".
    """
    return _reduce(-response_log_probs, reduction)


def dpo_loss(
    policy_chosen: Float[Tensor, "*pairs"],
    policy_rejected: Float[Tensor, "*pairs"],
    reference_chosen: Float[Tensor, "*pairs"],
    reference_rejected: Float[Tensor, "*pairs"],
    beta: float = 0.1,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """Direct preference optimization (Rafailov et al. 2023, eq. 7) on summed log-probabilities.

    Args:
        policy_chosen, policy_rejected: *sum* of the response's token log-probabilities (nats) under the model
            that learns, one per pair.
        reference_chosen, reference_rejected: the same under the model at the start; no gradient is wanted here.
        beta: strength of the tie to the reference, > 0; paper: 0.1.
        label_smoothing: probability that a label is swapped, 0 to below 0.5 (conservative DPO).
        reduction: "mean", "sum" or "none".
    Returns:
        ln 2 where policy = reference.

    >>> dpo_loss(*torch.tensor([[-9.0], [-9.0], [-9.0], [-9.0]]))
    tensor(0.6931)
    """
    margin = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))
    losses = -(1 - label_smoothing) * logsigmoid(margin) - label_smoothing * logsigmoid(-margin)
    return _reduce(losses, reduction)


def simpo_loss(
    chosen: Float[Tensor, "*pairs"],
    rejected: Float[Tensor, "*pairs"],
    beta: float = 2.0,
    gamma: float = 1.0,
    reduction: str = "mean",
) -> Float[Tensor, "*out"]:
    """SimPO (Meng et al. 2024, eq. 6), no reference model: -log sigmoid(beta (chosen - rejected) - gamma).

    Args:
        chosen, rejected: *mean* token log-probability of the response (nats/token), one per pair.
        beta: scale of the reward, > 0; paper: 2.0 (base models) to 2.5 (instruction-tuned).
        gamma: margin that the scaled difference must exceed, >= 0; paper: gamma/beta from 0.1 to 0.8, 0.5 for
            Llama-3 base, hence 1.0 here.
        reduction: "mean", "sum" or "none".
    """
    return _reduce(-logsigmoid(beta * (chosen - rejected) - gamma), reduction)


@torch.no_grad()
def loss_diagnostics(
    student_scores: Float[Tensor, "*prompts items"],
    teacher_scores: Float[Tensor, "*prompts items"],
    mask: Shaped[Tensor, "..."] | None = None,
) -> dict[str, Float[Tensor, "*prompts"]]:
    """Per-prompt agreement of student and teacher, detached, each of shape prompts.

    Args:
        student_scores, teacher_scores: prompts x n, beta * reward.
        mask: True where the response exists; None means that all do.
    Returns:
        jsd: Jensen-Shannon divergence, nats, 0 to ln 2 (an estimate above n = 8).
        top1: 1 where both put the same response first, else 0; ties go to the lower number, as in the losses.
        kendall_tau: tau-b, -1 to 1; NaN where undefined (one response, or all scores of one side equal).
        ties: number of pairs that the teacher does not tell apart.
    Raises:
        ValueError: a score that is not finite, or a row without items.
    """
    student, teacher = PlackettLuce(student_scores, mask), PlackettLuce(teacher_scores, mask)
    tau, ties = _kendall_tau(student, teacher)
    values = {
        "jsd": js_divergence(student, teacher).value,
        "top1": student.mode[..., 0] == teacher.mode[..., 0],
        "kendall_tau": tau,
        "ties": ties,
    }
    return {name: value.to(student.scores.dtype) for name, value in values.items()}


def _kendall_tau(student: PlackettLuce, teacher: PlackettLuce) -> tuple[Tensor, Tensor]:
    i, j = torch.triu_indices(student.items, student.items, 1, device=student.scores.device)
    dtype = working_dtype(student.scores.device)
    signs = [(d.scores[..., i] - d.scores[..., j]).sign().to(dtype) for d in (student, teacher)]
    both = torch.ones_like(signs[0])
    if student.mask is not None:
        both = (student.mask[..., i] & student.mask[..., j]).to(dtype)
    ours, theirs = (s * both for s in signs)
    tau = (ours * theirs).sum(-1) / (ours.square().sum(-1) * theirs.square().sum(-1)).sqrt()
    return tau, (both - theirs.square()).sum(-1)


def _distributions(student_scores: Tensor, teacher_scores: Tensor, mask: Tensor | None) -> tuple:
    if student_scores.shape != teacher_scores.shape:
        raise ValueError(
            f"student_scores have shape {tuple(student_scores.shape)}, teacher_scores {tuple(teacher_scores.shape)}: "
            "both must be prompts x n over the same responses"
        )
    return tuple(_named(name, s, mask) for name, s in (("student", student_scores), ("teacher", teacher_scores)))


def _named(name: str, scores: Tensor, mask: Tensor | None) -> PlackettLuce:
    try:
        return PlackettLuce(scores, mask)
    except ValueError as error:
        raise ValueError(f"{name}_scores: {error}") from None


def _reduce(losses: Tensor, reduction: str) -> Tensor:
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}: expected one of {', '.join(REDUCTIONS)}")
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()
