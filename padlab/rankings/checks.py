"""Input checks that all functions on rankings share: finite scores, valid masks, same items, matching shapes."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.distributions import constraints

FILLER = -1e30  # used in place of log 0 = -inf, so that 0 * log 0 and its gradient are 0 and not NaN


def working_dtype(device: torch.device) -> torch.dtype:
    """float64 for the arithmetic on scores; float32 on devices that have no float64 (Apple's mps)."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_scores(
    scores: Float[Tensor, "*batch items"] | list, mask: Shaped[Tensor, "..."] | None = None, finite: bool = True
) -> tuple[Float[Tensor, "*batch items"], Bool[Tensor, "*batch items"] | None]:
    """Scores as a floating-point tensor with absent items set to 0, and the mask in the same shape.

    Args:
        scores: batch shape x n, beta * reward (nats), finite wherever the item exists.
        mask: True where the item exists; None means that all do. It is broadcast to the shape of the scores.
        finite: check for NaN and infinities (on a GPU this waits for the values).
    Raises:
        ValueError: no items, a mask of another shape or dtype, a row without items, or a score that is not finite
            (row and item are named).
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
    empty_rows = ~mask.any(-1)
    if empty_rows.any():
        row = _row_name(empty_rows.nonzero()[0])
        raise ValueError(f"{row} has no item at all: remove that row, or set mask to True where an item exists")
    return mask


def _check_finite(scores: Tensor) -> None:
    not_finite = ~torch.isfinite(scores)
    if not not_finite.any():
        return
    index = not_finite.nonzero()[0]
    raise ValueError(
        f"{_row_name(index[:-1])}, item {int(index[-1])} has the score {scores[tuple(index)].item()}: scores must be "
        f"finite ({int(not_finite.sum())} are not). Remove that response, or mark it absent with mask (True = the item "
        "exists)"
    )


def _row_name(index: Tensor) -> str:
    numbers = index.tolist()
    return f"row {numbers[0] if len(numbers) == 1 else tuple(numbers) or 0} (prompt)"


def check_same_shape(**tensors: Tensor) -> None:
    """Check that tensors which belong together have one shape; otherwise torch might broadcast them silently.

    Raises:
        ValueError: they differ; names and shapes are listed.

    >>> check_same_shape(chosen=torch.zeros(3), rejected=torch.ones(3))
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            "shapes differ: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()) + "; they must be equal"
        )


def broadcast_batches(first: torch.Size, second: torch.Size) -> torch.Size:
    """The common batch shape of two distributions, or of rankings and a distribution.

    Raises:
        ValueError: the two shapes do not broadcast.
    """
    try:
        return torch.broadcast_shapes(first, second)
    except RuntimeError:
        raise ValueError(f"batch shapes {tuple(first)} and {tuple(second)} do not broadcast") from None


def check_same_items(first_mask: Tensor | None, second_mask: Tensor | None, shape: torch.Size) -> Tensor | None:
    """The mask that two distributions share, in the given shape; None when every item exists.

    Raises:
        ValueError: the two masks differ.
    """
    if first_mask is None and second_mask is None:
        return None
    device = next(mask.device for mask in (first_mask, second_mask) if mask is not None)
    all_exist = torch.ones((), dtype=torch.bool, device=device)
    first, second = (
        (all_exist if mask is None else mask).to(device).expand(shape) for mask in (first_mask, second_mask)
    )
    different = (first != second).any(-1)
    if different.any():
        row = _row_name(different.nonzero()[0])
        raise ValueError(f"{row}: the two distributions rank different items; give both the same mask")
    return first


class Rankings(constraints.Constraint):
    """Constraint on rankings: rows of distinct item indices 0 .. n-1, all n of them or the first k."""

    is_discrete = True
    event_dim = 1

    def __init__(self, items: int):
        self.items = items

    def check(self, value: Tensor) -> Tensor:
        """True for each row that is a ranking or the beginning of one."""
        ordered = value.sort(-1).values
        distinct = (ordered[..., 1:] != ordered[..., :-1]).all(-1)
        return distinct & ((value >= 0) & (value < self.items)).all(-1)


def check_rankings(value: Tensor, items: int) -> None:
    """Check that every row of `value` is a ranking of the items 0 .. n-1, or the beginning of one.

    Raises:
        ValueError: no integers, more items than n, indices outside 0 .. n-1, or repeated ones (row named).

    >>> check_rankings(torch.tensor([[2, 0, 1], [0, 1, 2]]), 3)
    """
    if value.dim() == 0 or not 0 < value.shape[-1] <= items or value.is_floating_point():
        raise ValueError(
            f"a ranking has 1 to {items} item indices (int64) in its last dimension; "
            f"got shape {tuple(value.shape)}, {value.dtype}"
        )
    invalid = ~Rankings(items).check(value)
    if invalid.any():
        index = invalid.nonzero()[0]
        raise ValueError(
            f"{value[tuple(index)].tolist()} at {tuple(index.tolist())} is not a ranking: "
            f"item indices from 0 to {items - 1} may each occur at most once"
        )
