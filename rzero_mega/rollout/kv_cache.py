"""A key-value cache of slots: every row has its own length, rows come and go, and new keys are written in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

# The cache grows by a quarter, in multiples of so many positions: copying it then costs little beside reading it at
# every step, of long answers too.
GROWTH = 64


class SlotCache(Cache):
    """Keys and values [slots, g, s, d] per layer; the first `active` slots are in use and decode together.

    transformers' own caches either grow by concatenation at every step or write every row at the same position. Here
    slot i holds positions 0 .. length_i - 1 without padding; the attention mask hides what lies beyond.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(layers=[])
        self._slots = slots
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._write_index = torch.empty(0, dtype=torch.long)
        self._longest = 0

    def insert(self, first_slot: int, prefilled: DynamicCache, prompt_of_slot: Tensor) -> None:
        """Copy row `prompt_of_slot[i]` of a prefilled cache into slot first_slot + i."""
        if not self._keys:
            self._keys = [self._allocate(layer.keys) for layer in prefilled.layers]
            self._values = [self._allocate(layer.values) for layer in prefilled.layers]
        slots = slice(first_slot, first_slot + len(prompt_of_slot))
        length = prefilled.get_seq_length()
        self._reserve(length)
        self._longest = max(self._longest, length)
        for layer, keys, values in zip(prefilled.layers, self._keys, self._values, strict=True):
            keys[slots, :, :length] = layer.keys[prompt_of_slot]
            values[slots, :, :length] = layer.values[prompt_of_slot]

    def move(self, sources: Tensor, destinations: Tensor) -> None:
        """Copy whole slots, to close the gaps that finished rows leave."""
        for tensor in (*self._keys, *self._values):
            held = tensor[:, :, : self._longest]
            held[destinations] = held[sources]

    def begin_step(self, positions: Tensor) -> Tensor:
        """Say where the next `update`s write: row i at positions[i]. Returns the boolean mask [b, 1, 1, s]."""
        self._longest = int(positions.max()) + 1
        self._reserve(self._longest)
        _, heads, capacity, _ = self._keys[0].shape
        rows = torch.arange(len(positions) * heads, device=positions.device)
        self._write_index = rows * capacity + positions.repeat_interleave(heads)
        visible = torch.arange(self._longest, device=positions.device) <= positions[:, None]
        return visible[:, None, None, :]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the keys and values [b, g, 1, d] of one step; return those of all positions, [b, g, s, d]."""
        held = []
        for tensor, new in ((self._keys[layer_idx], key_states), (self._values[layer_idx], value_states)):
            d = tensor.shape[-1]
            tensor.view(-1, d).index_copy_(0, self._write_index, new.reshape(-1, d))
            held.append(tensor[: len(new), :, : self._longest])
        return held[0], held[1]

    def _allocate(self, like: Tensor) -> Tensor:
        # Zeros, for a masked position still enters the sum as 0 * value, which must not be 0 * NaN.
        return like.new_zeros(self._slots, like.shape[1], 0, like.shape[3])

    def _reserve(self, length: int) -> None:
        capacity = self._keys[0].shape[2]
        if length > capacity:
            grow = -(-max(length - capacity, capacity // 4) // GROWTH) * GROWTH
            self._keys = [torch.nn.functional.pad(tensor, (0, 0, 0, grow)) for tensor in self._keys]
            self._values = [torch.nn.functional.pad(tensor, (0, 0, 0, grow)) for tensor in self._values]
