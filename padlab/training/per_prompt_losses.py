"""Phase 3's losses, one number per prompt: PAD's two over rankings, and the baselines it is compared with.

All are computed from the same student forward pass over a prompt's n responses; "token_kd" also needs the teacher's
forward pass, "dpo" and "lipo" the student's log-probabilities before training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from padlab.rankings.listwise_losses import lipo_loss, pro_loss, rrhf_loss, win_labels
from padlab.rankings.losses import dpo_loss, ppd_loss, sft_loss, simpo_loss, vpd_loss

if TYPE_CHECKING:
    from padlab.training.config import PADConfig

Grid = Float[Tensor, "prompts items"]


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Per-response values of a batch of prompts with up to n responses each; 0 where a prompt has fewer.

    Args:
        rewards: the student's mean token log-probabilities, nats/token, with gradient.
        teacher_scores: beta x the teacher's calibrated reward; their differences are log-odds of preference, as those
            of a reward model are, so they are PRO's and RRHF's rewards too.
        exists: True where a response exists.
        lengths: tokens per response.
        reference: sums of the student's token log-probabilities before training, nats (for "dpo" and "lipo").
        kl: mean over a response's tokens of KL(teacher || student), nats/token (for "token_kd").
    """

    rewards: Grid
    teacher_scores: Grid
    exists: Bool[Tensor, "prompts items"]
    lengths: Grid
    reference: Grid | None = None
    kl: Grid | None = None


def prompt_losses(scored: Scored, config: PADConfig) -> Float[Tensor, " prompts"]:
    """The loss of each prompt.

    Args:
        scored: the batch.
        config: `loss` chooses:
            "ppd", "vpd": over the distributions of rankings.
            "sft": minus the mean reward of all responses, i.e. imitating them (sequence-level distillation, where
                the teacher wrote them).
            "token_kd": KL(teacher || student) of the next token, mean over tokens, then over responses.
            "dpo", "simpo": the response with the highest teacher score against the one with the lowest.
            "lipo", "pro", "rrhf": all responses, in the teacher's order.
            `token_kd` > 0 adds that weight times the "token_kd" loss.
    """
    losses = _LOSSES[config.loss](scored, config)
    return losses + config.token_kd * _token_kd(scored, config) if config.token_kd else losses


def student_scores(scored: Scored, config: PADConfig) -> Grid:
    """beta x the student's rewards: means of its token log-probabilities, or sums without length normalization."""
    return config.beta * (scored.rewards if config.length_normalize else scored.rewards * scored.lengths)


def chosen_and_rejected(scored: Scored, values: Grid) -> tuple[Tensor, Tensor]:
    """The values of the response that the teacher likes best, and least; ties go to the lower index."""
    best = scored.teacher_scores.masked_fill(~scored.exists, -torch.inf).argmax(-1, keepdim=True)
    worst = scored.teacher_scores.masked_fill(~scored.exists, torch.inf).argmin(-1, keepdim=True)
    return values.gather(-1, best).squeeze(-1), values.gather(-1, worst).squeeze(-1)


def _ppd(s: Scored, config: PADConfig) -> Tensor:
    return ppd_loss(student_scores(s, config), s.teacher_scores, config.divergence, mask=s.exists, reduction="none")


def _vpd(s: Scored, config: PADConfig) -> Tensor:
    return vpd_loss(student_scores(s, config), s.teacher_scores, mask=s.exists, reduction="none")


def _sft(s: Scored, config: PADConfig) -> Tensor:
    return _mean_over_responses(sft_loss(s.rewards, reduction="none"), s.exists)


def _token_kd(s: Scored, config: PADConfig) -> Tensor:
    return _mean_over_responses(s.kl, s.exists)


def _dpo(s: Scored, config: PADConfig) -> Tensor:
    policy = chosen_and_rejected(s, s.rewards * s.lengths)
    return dpo_loss(*policy, *chosen_and_rejected(s, s.reference), beta=config.dpo_beta, reduction="none")


def _simpo(s: Scored, config: PADConfig) -> Tensor:
    pair = chosen_and_rejected(s, s.rewards)
    return simpo_loss(*pair, config.simpo_beta, config.simpo_gamma, reduction="none")


def _lipo(s: Scored, config: PADConfig) -> Tensor:
    labels = win_labels(s.teacher_scores, s.exists)
    return lipo_loss(s.rewards * s.lengths, s.reference, labels, config.lipo_beta, s.exists, reduction="none")


def _pro(s: Scored, config: PADConfig) -> Tensor:
    return pro_loss(s.rewards, s.teacher_scores, s.lengths, config.pro_sft, s.exists, reduction="none")


def _rrhf(s: Scored, config: PADConfig) -> Tensor:
    return rrhf_loss(s.rewards, s.teacher_scores, s.exists, reduction="none")


def _mean_over_responses(values: Tensor, exists: Tensor) -> Tensor:
    return (values * exists).sum(-1) / exists.sum(-1)


_LOSSES: dict[str, Callable[[Scored, PADConfig], Tensor]] = {
    "ppd": _ppd,
    "vpd": _vpd,
    "sft": _sft,
    "token_kd": _token_kd,
    "dpo": _dpo,
    "simpo": _simpo,
    "lipo": _lipo,
    "pro": _pro,
    "rrhf": _rrhf,
}
LOSSES = tuple(_LOSSES)
