"""Phase 2b: mix the likelihood reward with the selection probability by alpha. Pure tensors, no model."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SELECTION_FLOOR = 1e-6  # the one floor for selection probabilities and votes before taking logarithms: log = -13.8 nats


def calibrate(
    reward: Any, selection_prob: Any, alpha: float, *, match_scale: bool = False
) -> Float[Tensor, "*batch items"]:
    """Calibrated reward = (1 - alpha) * reward + alpha * log p_sel.

    Args:
        reward: mean token log-probabilities, nats/token, ... x n (tensor, array or lists).
        selection_prob: selection probabilities, same shape, >= 0, sum 1 over the last axis; None is allowed for
            alpha = 0.
        alpha: weight of the selection probability, 0 to 1. alpha = 0 gives the raw reward, alpha = 1 log p_sel alone.
            The released code's alpha weights the likelihood instead: its alpha = 1 - this alpha.
        match_scale: give log p_sel the mean and standard deviation of the rewards of its prompt first, so that alpha
            weighs two terms of one scale; the method does not. Where log p_sel is the same for all, it says nothing.

    Returns:
        nats, same shape. Probabilities below `SELECTION_FLOOR` = 1e-6 count as 1e-6, so that scores stay finite.

    Raises:
        ValueError: alpha outside [0, 1], shapes that differ, NaN or infinite values.

    >>> calibrate([-1.0, -2.0], [0.75, 0.25], alpha=0.0).tolist()
    [-1.0, -2.0]
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1] (0 = likelihood alone, 1 = selection alone), got {alpha}")
    reward = _finite(reward, "reward")
    if selection_prob is None:
        if alpha == 0:
            return reward
        raise ValueError("no selection_prob: run padlab.add_selection_probs(table, teacher), or set alpha=0")
    selection_prob = _finite(selection_prob, "selection_prob").to(reward.device)
    if selection_prob.shape != reward.shape:
        raise ValueError(
            f"reward {tuple(reward.shape)} and selection_prob {tuple(selection_prob.shape)} differ in shape"
        )
    if bool((selection_prob < 0).any()):
        raise ValueError("selection_prob must not be negative")
    log_p = log_selection(selection_prob).to(reward.dtype)
    return (1 - alpha) * reward + alpha * (_on_scale_of(reward, log_p) if match_scale else log_p)


def log_selection(probability: Tensor) -> Tensor:
    """log p of selection probabilities, with `SELECTION_FLOOR` for smaller ones, in float32 or wider.

    >>> log_selection(torch.tensor([1.0, 0.0])).tolist()
    [0.0, -13.815510749816895]
    """
    return probability.to(torch.promote_types(probability.dtype, torch.float32)).clamp_min(SELECTION_FLOOR).log()


def _on_scale_of(
    pattern: Float[Tensor, "*batch items"], values: Float[Tensor, "*batch items"]
) -> Float[Tensor, "*batch items"]:
    """Values with the mean and (population) standard deviation of a pattern over the last axis."""
    centred = values - values.mean(-1, keepdim=True)
    spread = centred.std(-1, keepdim=True, correction=0)
    scale = torch.where(spread > 1e-6, pattern.std(-1, keepdim=True, correction=0) / spread.clamp_min(1e-6), 0.0)
    return pattern.mean(-1, keepdim=True) + scale * centred


def _finite(values: Any, name: str) -> Float[Tensor, "*batch items"]:
    try:
        if not isinstance(values, Tensor):
            values = torch.tensor(np.array(list(values), dtype=np.float64)).float()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers of one shape (every prompt with the same n): {error}") from None
    tensor = values if values.is_floating_point() else values.float()
    bad = (~torch.isfinite(tensor)).nonzero()
    if len(bad):
        axes = ("row", "response")[-tensor.dim() :]
        where = ", ".join(f"{axis} {i}" for axis, i in zip(axes, bad[0].tolist(), strict=False))
        raise ValueError(f"{name} is not finite at {where}: {float(tensor[tuple(bad[0])])}; score it again or drop it")
    return tensor
