"""A hash over every weight of a model: computed once, and again only when a weight has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

WHERE = ("base_model_name_or_path", "revision", "auto_mapping", "inference_mode", "peft_version", "task_type")


def hash_of_weights(weights: Mapping[str, Tensor], more: str = "") -> str:
    """16 hex digits that change with a name, a shape, a type, or any bit of any tensor.

    Args:
        weights: tensors by name.
        more: text that belongs to the model as well.

    >>> hash_of_weights({"w": torch.tensor([1.0, 2.0])}) == hash_of_weights({"w": torch.tensor([2.0, 1.0])})
    False
    """
    digest = hashlib.sha256(more.encode())
    for name, value in sorted(weights.items()):
        digest.update(repr((name, tuple(value.shape), str(value.dtype))).encode())
        digest.update(value.detach().contiguous().flatten().view(torch.uint8).cpu().numpy())
    return digest.hexdigest()[:16]


def state_of(weight: Tensor) -> tuple[Any, ...]:
    """Changes when a weight is replaced or written to, in a tenth of the time of the hash.

    Address, torch's write counter, shape, and sums: these notice writes through `.data`, which torch does not count.
    """
    rows = weight.detach().reshape(len(weight) if weight.dim() else 1, -1).sum(-1).double()
    places = torch.arange(1, len(rows) + 1, device=rows.device, dtype=rows.dtype)
    return (weight.data_ptr(), weight._version, tuple(weight.shape), float(rows.sum()), float(rows @ places))


def adapter_settings(model: Any) -> str:
    """What a model's adapters are set to (rank, alpha, targets, ...), as text; empty without one."""
    configs = getattr(model, "peft_config", {})
    settings = {name: {k: v for k, v in c.to_dict().items() if k not in WHERE} for name, c in configs.items()}
    return json.dumps(settings, sort_keys=True, default=lambda v: sorted(map(str, v)) if isinstance(v, set) else str(v))
