"""Rows that begin alike (a system prompt, an instruction): that beginning goes through the network once for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

MIN_SHARED = 8  # tokens that the rows must have in common, or the second pass through the network costs more

_plain: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()  # model -> whether every block keeps plain keys and values


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two sequences begin with in common."""
    shorter = min(len(a), len(b))
    return next((k for k in range(shorter) if a[k] != b[k]), shorter)


def shared_beginning(rows: Sequence[Sequence[int]], limit: int) -> int:
    """How many ids all rows begin with in common, at most `limit`; 0 for one row, or too few ids to be worth a pass.

    >>> shared_beginning([[1] * 20 + [2], [1] * 20 + [3, 4]], limit=20)
    20
    """
    if len(rows) < 2:
        return 0
    shared = min(limit, *(common_prefix_length(rows[0], row) for row in rows))
    return shared if shared >= MIN_SHARED else 0


def only_attention(model: Any) -> bool:
    """Whether all blocks keep keys and values: no state-space, convolution or linear attention blocks."""
    return all(isinstance(layer, DynamicLayer) for layer in DynamicCache(config=model.config.get_text_config()).layers)


def can_share(model: Any) -> bool:
    """Whether every block keeps plain keys and values, and they may be kept (not under gradient checkpointing)."""
    if model not in _plain:
        layers = DynamicCache(config=model.config.get_text_config()).layers
        _plain[model] = all(type(layer) is DynamicLayer for layer in layers) and _fills_the_cache(model)
    checkpointing = any(getattr(m, "gradient_checkpointing", False) and m.training for m in model.modules())
    return _plain[model] and not checkpointing


@torch.no_grad()
def _fills_the_cache(model: Any) -> bool:
    cache = DynamicCache(config=model.config.get_text_config())
    model(input_ids=torch.tensor([[0, 0]], device=model.device), past_key_values=cache, use_cache=True)
    return all(layer.is_initialized and layer.get_seq_length() == 2 for layer in cache.layers)


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
