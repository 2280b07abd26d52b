"""Rows that begin alike (a system prompt, an instruction): that beginning goes through the network once for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

MIN_SHARED = 8  # tokens that the rows must have in common, or the second pass through the network costs more


def length_of_common_beginning(input_ids: Int[Tensor, "rows width"], limit: int) -> int:
    """Leading columns in which all rows hold the same id, at most `limit`; 0 for one row or too few columns.

    >>> length_of_common_beginning(torch.tensor([[1] * 9 + [2], [1] * 9 + [3]]), limit=9)
    9
    """
    if len(input_ids) < 2:
        return 0
    differ = (input_ids != input_ids[:1]).any(0)[:limit]
    shared = int(differ.nonzero()[0]) if bool(differ.any()) else limit
    return shared if shared >= MIN_SHARED else 0


def can_share(model: Any) -> bool:
    """Whether every block keeps plain keys and values, and they may be kept (not under gradient checkpointing)."""
    layers = DynamicCache(config=model.config.get_text_config()).layers
    checkpointing = model.training and any(getattr(m, "gradient_checkpointing", False) for m in model.modules())
    return all(type(layer) is DynamicLayer for layer in layers) and not checkpointing


def run_behind(network: Callable[..., Any], config: Any, inputs: dict[str, Any], shared: int) -> Any:
    """The network's output for the columns behind the first `shared` ones, differentiable.

    Args:
        network: decoder or whole model.
        config: its configuration.
        inputs: input_ids, position_ids, and attention_mask (rows x 1 x width x width) where plain causal attention is
            not right.
        shared: columns that all rows have in common.
    """
    cache = DynamicCache(config=config.get_text_config())
    beginning = {name: inputs[name][:1, :shared] for name in ("input_ids", "position_ids")}
    network(**beginning, past_key_values=cache, use_cache=True)
    rows = len(inputs["input_ids"])
    for layer in cache.layers:
        layer.keys, layer.values = (states.expand(rows, -1, -1, -1) for states in (layer.keys, layer.values))
    rest = {name: inputs[name][:, shared:] for name in ("input_ids", "position_ids")}
    if "attention_mask" in inputs:
        rest["attention_mask"] = inputs["attention_mask"][:, :, shared:]
    return network(**rest, past_key_values=cache, use_cache=True)
