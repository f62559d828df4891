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

    A position's key and value lie side by side, [slots, g, s, 2 d], in latent attention of two sizes: a step writes one
    place per row and head, each on a memory page of its own, and finding the page costs more than writing.

    transformers' own caches either grow by concatenation at every step or write every row at the same position. Here
    slot i holds positions 0 .. length_i - 1 without padding; the attention mask hides what lies beyond.
    """

    def __init__(self, slots: int) -> None:
        super().__init__(layers=[])
        self._slots = slots
        self._layers: list[Tensor] = []
        self._widths = [0, 0]
        self._write_index = torch.empty(0, dtype=torch.long)
        self._longest = 0

    def insert(self, first_slot: int, prefilled: DynamicCache, prompt_of_slot: Tensor) -> None:
        """Copy row `prompt_of_slot[i]` of a prefilled cache into slot first_slot + i."""
        if not self._layers:
            self._widths = [prefilled.layers[0].keys.shape[-1], prefilled.layers[0].values.shape[-1]]
            self._layers = [self._allocate(layer.keys) for layer in prefilled.layers]
        slots = slice(first_slot, first_slot + len(prompt_of_slot))
        length = prefilled.get_seq_length()
        self._reserve(length)
        self._longest = max(self._longest, length)
        for layer, tensor in zip(prefilled.layers, self._layers, strict=True):
            keys, values = tensor[slots, :, :length].split(self._widths, -1)
            keys.copy_(layer.keys[prompt_of_slot])
            values.copy_(layer.values[prompt_of_slot])

    def move(self, sources: Tensor, destinations: Tensor) -> None:
        """Copy whole slots, to close the gaps that finished rows leave."""
        for tensor in self._layers:
            held = tensor[:, :, : self._longest]
            held[destinations] = held[sources]

    def begin_step(self, positions: Tensor) -> Tensor:
        """Say where the next `update`s write: row i at positions[i]. Returns the mask [b, 1, 1, s].

        It is what attention adds to its scores: a boolean one would be made into that in every layer.
        """
        self._longest = int(positions.max()) + 1
        self._reserve(self._longest)
        _, heads, capacity, _ = self._layers[0].shape
        rows = torch.arange(len(positions) * heads, device=positions.device)
        self._write_index = rows * capacity + positions.repeat_interleave(heads)
        hidden = torch.arange(self._longest, device=positions.device) > positions[:, None]
        mask = self._layers[0].new_zeros(hidden.shape).masked_fill_(hidden, -torch.inf)
        return mask[:, None, None, :]

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write the keys and values [b, g, 1, d] of one step; return those of all positions, [b, g, s, d]."""
        tensor = self._layers[layer_idx]
        new = torch.cat([key_states, value_states], -1)
        tensor.view(-1, tensor.shape[-1]).index_copy_(0, self._write_index, new.view(-1, new.shape[-1]))
        keys, values = tensor[: len(new), :, : self._longest].split(self._widths, -1)
        return keys, values

    def _allocate(self, like: Tensor) -> Tensor:
        # Zeros, for a masked position still enters the sum as 0 * value, which must not be 0 * NaN.
        return like.new_zeros(self._slots, like.shape[1], 0, sum(self._widths))

    def _reserve(self, length: int) -> None:
        capacity = self._layers[0].shape[2]
        if length > capacity:
            grow = -(-max(length - capacity, capacity // 4) // GROWTH) * GROWTH
            self._layers = [torch.nn.functional.pad(tensor, (0, 0, 0, grow)) for tensor in self._layers]
