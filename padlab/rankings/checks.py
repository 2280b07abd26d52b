"""Input checks that all functions on rankings share: finite scores, valid masks, same items, matching shapes."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

Numbers = list | tuple | np.ndarray  # taken wherever a tensor of numbers is, see `as_numbers`
LARGEST = 1e9  # of scores: above, float64 no longer resolves the differences that probabilities depend on
FILLER = -1e30  # used in place of log 0 = -inf, so that 0 * log 0 and its gradient are 0 and not NaN


def working_dtype(device: torch.device) -> torch.dtype:
    """float64 for the arithmetic on scores; float32 on devices that have no float64 (Apple's mps)."""
    return torch.float32 if device.type == "mps" else torch.float64


def working_scores(
    scores: Float[Tensor, "*batch items"], mask: Bool[Tensor, "*batch items"] | None
) -> Float[Tensor, "*batch items"]:
    """Scores in float64, with -1e30, -2e30, ... for the items that do not exist.

    So absent items come last in every ranking, in ascending order, with probability 1, by the formulas that hold for
    all items; whatever has probability 0 has a log-probability of about -1e30 or less.

    >>> working_scores(torch.tensor([1.0, 0.0, 0.0]), torch.tensor([True, False, False])).softmax(-1)
    tensor([1., 0., 0.], dtype=torch.float64)
    """
    scores = scores.to(working_dtype(scores.device))
    if mask is None:
        return scores
    return torch.where(mask, scores, FILLER * torch.arange(1, scores.shape[-1] + 1, device=scores.device).to(scores))


def check_scores(
    scores: Float[Tensor, "*batch items"] | Numbers, mask: Shaped[Tensor, "..."] | None = None
) -> tuple[Float[Tensor, "*batch items"], Bool[Tensor, "*batch items"] | None]:
    """Scores as a floating-point tensor with absent items set to 0, and the mask in the same shape.

    Args:
        scores: batch shape x n, beta * reward (nats), finite wherever the item exists.
        mask: True where the item exists; None means that all do. It is broadcast to the shape of the scores.
    Raises:
        ValueError: no items, a mask of another shape or dtype, a row without items, or a score that is not finite
            (row and item are named).
    """
    scores = as_numbers(scores)
    if scores.dim() == 0 or scores.shape[-1] == 0:
        raise ValueError(f"scores have shape {tuple(scores.shape)}: expected at least one item in the last dimension")
    if mask is not None:
        mask = _check_mask(mask, scores)
        scores = scores.masked_fill(~mask, 0.0)
    not_finite = ~torch.isfinite(scores)
    if not_finite.any():
        *row, item = not_finite.nonzero()[0].tolist()
        raise ValueError(
            f"{row_name(row)}, item {item} has the score {scores[(*row, item)].item()}: scores must be finite "
            f"({int(not_finite.sum())} are not). Remove that response, or mark it absent with mask (True = the item "
            "exists)"
        )
    if (scores.abs() > LARGEST).any():
        *row, item = (scores.abs() > LARGEST).nonzero()[0].tolist()
        raise ValueError(
            f"{row_name(row)}, item {item} has the score {scores[(*row, item)].item():g}: scores beyond {LARGEST:g} "
            "have no exact probabilities; use a smaller beta, or mark the item absent with mask"
        )
    return scores, mask


def as_numbers(values: Tensor | Numbers) -> Float[Tensor, "..."]:
    """A tensor, an array or lists of numbers as a floating-point tensor; a floating-point tensor as it is.

    >>> as_numbers([1, 2])
    tensor([1., 2.])
    """
    try:
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"expected a tensor, an array or lists of numbers, one shape throughout: {error}") from None
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


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
        row = row_name(empty_rows.nonzero()[0].tolist())
        raise ValueError(f"{row} has no item at all: remove that row, or set mask to True where an item exists")
    return mask


def row_name(index: Sequence[int]) -> str:
    """A row of a batch in words, for messages.

    >>> row_name([2]), row_name([0, 1])
    ('row 2 (prompt)', 'row (0, 1) (prompt)')
    """
    return f"row {index[0] if len(index) == 1 else tuple(index) or 0} (prompt)"


def check_same_shape(**tensors: Tensor) -> None:
    """Check that tensors which belong together have one shape; otherwise torch might broadcast them silently.

    Raises:
        ValueError: they differ; names and shapes are listed.

    >>> check_same_shape(chosen=torch.zeros(3), rejected=torch.ones(3))
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes differ: {listed}; they must be equal")


def broadcast_batches(first: torch.Size, second: torch.Size) -> torch.Size:
    """The common batch shape of two distributions, or of rankings and a distribution.

    Raises:
        ValueError: the two shapes do not broadcast.
    """
    try:
        return torch.broadcast_shapes(first, second)
    except RuntimeError:
        raise ValueError(f"batch shapes {tuple(first)} and {tuple(second)} do not broadcast") from None


def check_rankings(value: Tensor, items: int) -> None:
    """Check that every row of `value` is a ranking of the items 0 .. n-1.

    Raises:
        ValueError: no integers, another number of items, indices outside 0 .. n-1, or repeated ones (row named).

    >>> check_rankings(torch.tensor([[2, 0, 1], [0, 1, 2]]), 3)
    """
    if value.shape[-1:] != (items,) or value.is_floating_point():
        shape = tuple(value.shape)
        raise ValueError(
            f"a ranking has {items} item indices (int64) in its last dimension; got {shape}, {value.dtype}"
        )
    invalid = (value.sort(-1).values != torch.arange(items, device=value.device)).any(-1)
    if invalid.any():
        index = tuple(invalid.nonzero()[0].tolist())
        raise ValueError(f"{value[index].tolist()} at {index} is no ranking: each of 0 to {items - 1} must occur once")
