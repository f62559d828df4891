"""The hash that SGLang 0.5.23 computes of a tensor on a GPU, computed where the tensor lies, in pieces, in any order.

SGLang hashes with kernels in Triton (`sglang/kernels/ops/memory/gpu_tensor_hash.py`). The tensor is a row of 32-bit
words, zeros where its bytes end within one. Each word is mixed with its place in two ways, the two sums over a tile of
words are mixed once more, and the sum over all tiles is. Sums do not depend on their order, so pieces of a tensor can
come as they like. 32-bit arithmetic wraps around, which torch's signed integers do on CPUs and GPUs alike.

Equal to SGLang's kernels in Triton's interpreter; on a GPU neither has run here.
"""

from __future__ import annotations

import torch
from torch import Tensor

TILE = 8192
WORD = 4  # bytes
SEEDS = (0x243F6A88, 0x02C74EE7)
PLACES = ((0x27D4EB2D, 15), (0x165667B1, 13))
MIXERS = (0x85EBCA6B, 0xC2B2AE35)
# Words that are worked on at a time, which bounds the memory beside the tensor to some 100 MB.
CHUNK = 512 * TILE
MASK_32, MASK_64 = (1 << 32) - 1, (1 << 64) - 1


class GpuHash:
    """The hash of one tensor of `nbytes`, from pieces that together are all of it."""

    def __init__(self, nbytes: int) -> None:
        self._words = -(-nbytes // WORD)
        self._sums: Tensor | None = None  # [2, tiles] int64; only the lower 32 bits of each count

    def feed(self, offset: int, piece: Tensor) -> None:
        """Take in a piece that begins at byte `offset` of the tensor, a multiple of the word's size."""
        words = _words(piece)
        if self._sums is None:
            self._sums = torch.zeros(2, -(-self._words // TILE), dtype=torch.int64, device=words.device)
        first = offset // WORD
        for start in range(0, words.numel(), CHUNK):
            self._add(self._sums, first + start, words[start : start + CHUNK])

    def hexdigest(self) -> str:
        """16 digits, as the server reports them; waits for the device."""
        if self._sums is None:
            return f"{0:016x}"
        high, low = _mix((self._sums & MASK_32).to(torch.int32) ^ _signed(self._words * WORD)).to(torch.int64) & MASK_32
        total = int(((high << 32) + low).sum())  # wraps around at 64 bits
        return f"{_final(total & MASK_64):016x}"

    @staticmethod
    def _add(sums: Tensor, first: int, words: Tensor) -> None:
        last = first + words.numel()
        tiles = range(first // TILE, -(-last // TILE))
        place = torch.arange(first, last, device=words.device).to(torch.int32)
        padding = (first - tiles.start * TILE, tiles.stop * TILE - last)
        for row, (seed, (factor, turn)) in enumerate(zip(SEEDS, PLACES, strict=True)):
            mixed = _mix(words ^ (place * factor + _signed(seed)) ^ _rotated(place, turn))
            by_tile = torch.nn.functional.pad(mixed, padding).view(-1, TILE)
            sums[row, tiles.start : tiles.stop] += by_tile.sum(1, dtype=torch.int64)


def _words(piece: Tensor) -> Tensor:
    """The bytes as int32 words [n]; a copy where they do not lie so that they can be read as such."""
    data = piece.detach().contiguous().reshape(-1).view(torch.uint8)
    if data.numel() % WORD:
        data = torch.nn.functional.pad(data, (0, -data.numel() % WORD))
    elif data.data_ptr() % WORD or data.storage_offset() % WORD:
        data = data.clone()
    return data.view(torch.int32)


def _mix(x: Tensor) -> Tensor:
    """MurmurHash3's finalizer for 32 bits; changes `x`, which must be nobody else's."""
    x ^= _right(x, 16)
    x *= _signed(MIXERS[0])
    x ^= _right(x, 13)
    x *= _signed(MIXERS[1])
    x ^= _right(x, 16)
    return x


def _right(x: Tensor, by: int) -> Tensor:
    """Shifted to the right, zeros coming in: torch's own shift of signed numbers repeats the sign."""
    return (x >> by) & ((1 << (32 - by)) - 1)


def _rotated(x: Tensor, by: int) -> Tensor:
    return (x << by) | _right(x, 32 - by)


def _signed(x: int) -> int:
    """The int32 of the same 32 bits."""
    x &= MASK_32
    return x - (1 << 32) if x >> 31 else x


def _final(x: int) -> int:
    """Splitmix64's finalizer."""
    x ^= x >> 30
    x = (x * 0xBF58476D1CE4E5B9) & MASK_64
    x ^= x >> 27
    x = (x * 0x94D049BB133111EB) & MASK_64
    return x ^ (x >> 31)
