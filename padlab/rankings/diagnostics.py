"""What to watch beside a loss: per-prompt agreement of two rankings distributions, without gradients."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from padlab.rankings.checks import working_dtype
from padlab.rankings.divergence import js_divergence
from padlab.rankings.plackett_luce import PlackettLuce


@torch.no_grad()
def loss_diagnostics(
    student_scores: Float[Tensor, "*prompts items"],
    teacher_scores: Float[Tensor, "*prompts items"],
    mask: Bool[Tensor, "..."] | None = None,
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
