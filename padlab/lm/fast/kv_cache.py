"""A key-value cache with room for what is coming: a step writes one column instead of copying all that went before."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """A layer's keys and values inside buffers of a given length (batch x heads x room x width).

    Args:
        room: positions the buffers hold; beyond that they are doubled.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.buffers: tuple[Tensor, Tensor] | None = None
        self.length = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write new positions; returns views on all positions so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        if self.buffers is None or end > self.buffers[0].shape[-2]:
            self.room = max(end, self.room if self.buffers is None else 2 * self.room)
            grown = tuple(new.new_empty(*new.shape[:2], self.room, new.shape[-1]) for new in (key_states, value_states))
            for old, new in zip(self.buffers or (), grown, strict=False):
                new[:, :, : self.length] = old[:, :, : self.length]
            self.buffers = grown
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, self.length : end] = new
        self.length = end
        return self._show()

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep (or repeat) rows of the batch."""
        chosen = []
        for buffer in self.buffers or ():
            kept = buffer.new_empty(len(indices), *buffer.shape[1:])
            kept[:, :, : self.length] = buffer[indices, :, : self.length]
            chosen.append(kept)
        self.buffers = tuple(chosen)
        self._show()

    reorder_cache = batch_select_indices  # every kind of layer has it, and it repeats rows as well

    def append_rows(self, other: RoomyLayer) -> None:
        """Put another layer's rows below; the shorter of the two is moved right, with zeros before it, to be masked."""
        if self.buffers is not None:
            length = max(self.length, other.length)
            pairs = zip(self.buffers, other.buffers, strict=True)
            self.buffers = tuple(torch.cat([self._moved(a, length), other._moved(b, length)]) for a, b in pairs)
            self.length = length
        else:
            self.buffers, self.length = other.buffers, other.length
            self.lazy_initialization(*other.buffers)
        self._show()

    def _moved(self, buffer: Tensor, length: int) -> Tensor:
        if length == self.length:
            return buffer
        moved = torch.zeros_like(buffer)
        moved[:, :, length - self.length : length] = buffer[:, :, : self.length]
        return moved

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (buffer[:, :, : self.length] for buffer in self.buffers)
        return self.keys, self.values


def roomy_cache(config: Any, room: int) -> DynamicCache:
    """A model's cache; layers that look back without limit get buffers of `room` positions."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
