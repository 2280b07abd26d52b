"""A KV cache with preallocated memory: a decoding step writes one position instead of copying all earlier ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class PreallocatedLayer(DynamicLayer):
    """One layer's keys and values: the first positions of buffers (rows x heads x capacity x width).

    Args:
        capacity: positions that the buffers hold, and no more.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.buffers: list[Tensor] = []  # of the keys and of the values
        self.length = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write new positions; returns views of the keys and values of all positions so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.buffers = [self._empty(states, len(states)) for states in (key_states, value_states)]
        start, self.length = self.length, self.length + key_states.shape[-2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : self.length] = states
        return self._update_views()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep (or repeat) rows of the batch."""
        selected = [self._empty(buffer, len(indices)) for buffer in self.buffers]
        for new, buffer in zip(selected, self.buffers, strict=True):
            new[:, :, : self.length] = buffer[indices, :, : self.length]
        self.buffers = selected
        self._update_views()

    reorder_cache = batch_select_indices  # every kind of layer has this method, and it repeats rows as well

    def append_rows(self, other: PreallocatedLayer) -> None:
        """Add another layer's rows; the shorter layer is shifted right, and the zeros before it must be masked."""
        if not self.is_initialized:
            self.lazy_initialization(*other.buffers)
            self.buffers, self.length = other.buffers, other.length
        else:
            length = max(self.length, other.length)
            pairs = zip(self.buffers, other.buffers, strict=True)
            self.buffers = [torch.cat([self._shifted(a, length), other._shifted(b, length)]) for a, b in pairs]
            self.length = length
        self._update_views()

    def _shifted(self, buffer: Tensor, length: int) -> Tensor:
        if length == self.length:
            return buffer
        shifted = torch.zeros_like(buffer)
        shifted[:, :, length - self.length : length] = buffer[:, :, : self.length]
        return shifted

    def _empty(self, states: Tensor, rows: int) -> Tensor:
        return states.new_empty(rows, states.shape[1], self.capacity, states.shape[-1])

    def _update_views(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self.buffers)
        return self.keys, self.values


def preallocated_cache(config: Any, capacity: int) -> DynamicCache:
    """A model's cache for `capacity` positions; layers with a sliding window or other states stay as they are."""
    cache = DynamicCache(config=config)
    cache.layers = [PreallocatedLayer(capacity) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
