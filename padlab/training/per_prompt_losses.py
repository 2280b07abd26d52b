"""Phase 3's losses, one number per prompt: PAD's two over rankings, and the baselines it is compared with.

All are computed from what one forward pass over a prompt's n responses gives, so that they can be compared at the same
cost, on the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from padlab.rankings.losses import dpo_loss, ppd_loss, sft_loss, simpo_loss, vpd_loss

Grid = Float[Tensor, "prompts items"]


@dataclass(frozen=True)
class Scored:
    """What is known of a batch of prompts with up to n responses each; 0 where a prompt has fewer.

    Args:
        rewards: the student's mean token log-probabilities, nats/token, with gradient.
        teacher: the teacher's scores, beta x calibrated reward.
        exists: which responses there are.
        lengths: tokens per response.
        reference: sums of the student's token log-probabilities before training, nats (only "dpo" needs them).
        kl: mean over a response's tokens of KL(teacher || student), nats/token (for "token_kd").
    """

    rewards: Grid
    teacher: Grid
    exists: Bool[Tensor, "prompts items"]
    lengths: Grid
    reference: Grid | None = None
    kl: Grid | None = None


def prompt_losses(scored: Scored, settings: Any) -> Float[Tensor, " prompts"]:
    """The loss of each prompt.

    Args:
        scored: the batch.
        settings: a `PADConfig`; `loss` chooses:
            "ppd", "vpd": over the distributions of rankings.
            "sft": minus the mean reward of all responses, i.e. imitating them (sequence-level distillation, where
                the teacher wrote them).
            "token_kd": KL(teacher || student) of the next token, mean over tokens, then over responses.
            "dpo", "simpo": the teacher's best response against its worst; SimPO without a reference.
            `token_kd` > 0 adds so much of "token_kd" to any of them.
    """
    losses = _LOSSES[settings.loss](scored, settings)
    return losses + settings.token_kd * _token_kd(scored, settings) if settings.token_kd else losses


def student_scores(scored: Scored, settings: Any) -> Grid:
    """beta x the student's rewards, means or sums of its token log-probabilities."""
    return settings.beta * (scored.rewards * scored.lengths if settings.reward_reduction == "sum" else scored.rewards)


def best_and_worst(scored: Scored) -> tuple[Tensor, Tensor]:
    """Places of the response that the teacher likes best, and least; ties go to the lower number."""
    best = scored.teacher.masked_fill(~scored.exists, -torch.inf).argmax(-1)
    worst = scored.teacher.masked_fill(~scored.exists, torch.inf).argmin(-1)
    return best, worst


def _ppd(s: Scored, settings: Any) -> Tensor:
    return ppd_loss(student_scores(s, settings), s.teacher, settings.divergence, mask=s.exists, reduction="none")


def _vpd(s: Scored, settings: Any) -> Tensor:
    return vpd_loss(student_scores(s, settings), s.teacher, mask=s.exists, reduction="none")


def _sft(s: Scored, settings: Any) -> Tensor:
    return _mean(sft_loss(s.rewards, reduction="none"), s.exists)


def _token_kd(s: Scored, settings: Any) -> Tensor:
    return _mean(s.kl, s.exists)


def _dpo(s: Scored, settings: Any) -> Tensor:
    chosen, rejected = _pair(s, s.rewards * s.lengths)
    return dpo_loss(chosen, rejected, *_pair(s, s.reference), beta=settings.dpo_beta, reduction="none")


def _simpo(s: Scored, settings: Any) -> Tensor:
    return simpo_loss(*_pair(s, s.rewards), settings.simpo_beta, settings.simpo_gamma, reduction="none")


def _pair(s: Scored, values: Tensor) -> tuple[Tensor, ...]:
    return tuple(values.gather(-1, place[:, None]).squeeze(-1) for place in best_and_worst(s))


def _mean(values: Tensor, exists: Tensor) -> Tensor:
    return (values * exists).sum(-1) / exists.sum(-1)


_LOSSES: dict[str, Callable[[Scored, Any], Tensor]] = {
    "ppd": _ppd,
    "vpd": _vpd,
    "sft": _sft,
    "token_kd": _token_kd,
    "dpo": _dpo,
    "simpo": _simpo,
}
LOSSES = tuple(_LOSSES)
