"""Checks that every entry of the rankings room shares: finite scores, sane masks, equal items."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.distributions import constraints

FILLER = -1e30  # stands for log 0 where the arithmetic must stay finite


def working_dtype(device: torch.device) -> torch.dtype:
    """float64 for the score arithmetic, float32 on devices that have no float64 (Apple's mps)."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_scores(
    scores: Float[Tensor, "*batch items"] | list, mask: Shaped[Tensor, "..."] | None = None, finite: bool = True
) -> tuple[Float[Tensor, "*batch items"], Bool[Tensor, "*batch items"] | None]:
    """Scores as a floating tensor with the absent items set to 0, and the mask in the same shape.

    Args:
        scores: batch shape x n, beta * reward, finite wherever the item exists.
        mask: True where the item exists; None means that all do. Broadcast to the scores.
        finite: look for NaN and infinities (this reads the values back from the device).
    Raises:
        ValueError: no item, a row without items, or a score that is not finite, naming row and item.
    """
    scores = scores if isinstance(scores, Tensor) else torch.as_tensor(scores)
    if not scores.is_floating_point():
        scores = scores.to(torch.get_default_dtype())
    if scores.dim() == 0 or scores.shape[-1] == 0:
        raise ValueError(f"scores have shape {tuple(scores.shape)}: expected at least one item in the last dimension")
    if mask is not None:
        mask = _check_mask(mask, scores)
        scores = torch.where(mask, scores, torch.zeros_like(scores))
    if finite:
        _check_finite(scores)
    return scores, mask


def _check_mask(mask: Tensor, scores: Tensor) -> Tensor:
    mask = mask.to(scores.device)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}: expected bool, True where the item exists")
    try:
        mask = mask.expand(scores.shape)
    except RuntimeError:
        message = f"mask has shape {tuple(mask.shape)}, scores have {tuple(scores.shape)}: they must match"
        raise ValueError(message) from None
    empty = ~mask.any(-1)
    if empty.any():
        raise ValueError(f"{_name_row(empty.nonzero()[0])} has no item at all: drop it, or set mask to True somewhere")
    return mask


def _check_finite(scores: Tensor) -> None:
    bad = ~torch.isfinite(scores)
    if not bad.any():
        return
    place = bad.nonzero()[0]
    raise ValueError(
        f"{_name_row(place[:-1])}, item {int(place[-1])} has the score {scores[tuple(place)].item()}: scores must be "
        f"finite ({int(bad.sum())} are not). Drop that response, or mark it absent with mask (True = the item exists)"
    )


def _name_row(place: Tensor) -> str:
    index = place.tolist()
    return f"row {index[0] if len(index) == 1 else tuple(index) if index else 0} (prompt)"


def check_same_items(first_mask: Tensor | None, second_mask: Tensor | None, shape: torch.Size) -> Tensor | None:
    """The mask that two distributions share, in the given shape; None when every item exists.

    Raises:
        ValueError: the two masks differ.
    """
    if first_mask is None and second_mask is None:
        return None
    full = [torch.ones((), dtype=torch.bool, device="cpu") if m is None else m for m in (first_mask, second_mask)]
    device = next(m.device for m in (first_mask, second_mask) if m is not None)
    first, second = (m.to(device).expand(shape) for m in full)
    different = (first != second).any(-1)
    if different.any():
        row = _name_row(different.nonzero()[0])
        raise ValueError(f"{row}: the two distributions rank different items; give both the same mask")
    return first


class Rankings(constraints.Constraint):
    """Rows of different item numbers 0 .. n-1: whole rankings, or the first k of one."""

    is_discrete = True
    event_dim = 1

    def __init__(self, items: int):
        self.items = items

    def check(self, value: Tensor) -> Tensor:
        """True for each row that is a ranking or the beginning of one."""
        ordered = value.sort(-1).values
        distinct = (ordered[..., 1:] != ordered[..., :-1]).all(-1)
        return distinct & ((value >= 0) & (value < self.items)).all(-1)
