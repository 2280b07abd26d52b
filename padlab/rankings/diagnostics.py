"""Diagnostics that are logged beside the loss: how well do the student's scores agree with the teacher's?"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from padlab.rankings.checks import check_same_shape
from padlab.rankings.large_n import js_divergence
from padlab.rankings.metrics import count_ties, kendall_tau, top1
from padlab.rankings.plackett_luce import PlackettLuce


@torch.no_grad()
def loss_diagnostics(
    student_scores: Float[Tensor, "*prompts items"],
    teacher_scores: Float[Tensor, "*prompts items"],
    mask: Shaped[Tensor, "..."] | None = None,
) -> dict[str, Float[Tensor, "*prompts"]]:
    """Agreement of student and teacher for each prompt, without gradient; shape prompts, dtype of the student.

    Args:
        student_scores, teacher_scores: prompts x n, beta * reward (nats).
        mask: True where the response exists; None means that all do.
    Returns:
        by name, a tensor of shape prompts and the student's dtype:
            jsd: Jensen-Shannon divergence, nats, 0 to ln 2 (an estimate above n = 8).
            top1: share of the student's best responses that are the teacher's best, 0 to 1 (without ties 0 or 1);
                NaN where the teacher does not rank (one response, or all scores equal).
            kendall_tau: tau-b, -1 to 1; NaN where student or teacher does not rank. For both, student scores that
                agree in 4 decimals tie.
            ties: number of pairs of responses with equal teacher scores.
    Raises:
        ValueError: a score that is not finite, a row without items, or shapes that differ.

    >>> loss_diagnostics(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[3.0, 2.0, 1.0]]))["kendall_tau"]
    tensor([0.3333])
    """
    check_same_shape(student_scores=student_scores, teacher_scores=teacher_scores)
    rounded = student_scores.round(decimals=4)  # equal texts at different places of a row differ by rounding errors
    values = {
        "jsd": js_divergence(PlackettLuce(student_scores, mask), PlackettLuce(teacher_scores, mask)).value,
        "top1": top1(rounded, teacher_scores, mask),
        "kendall_tau": kendall_tau(rounded, teacher_scores, mask),
        "ties": count_ties(teacher_scores, mask),
    }
    return {name: value.to(student_scores) for name, value in values.items()}
