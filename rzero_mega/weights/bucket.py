"""Buckets: many tensors laid end to end in one buffer of bytes, the unit in which weights travel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

# Ends of the names of two tensors, the second behind the first, that SGLang packs into one: it forgets the first at the
# end of a call (DeepSeek-V3's latent attention, 0.5.23).
TOGETHER = ("q_a_proj.weight", "kv_a_proj_with_mqa.weight")


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in its bucket: `start` is a byte offset, a multiple of the dtype's size."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def stop(self) -> int:
        """First byte after the tensor."""
        return self.start + self.nbytes


@dataclass(frozen=True)
class Bucket:
    """Full tensors under their Hugging Face names, without gaps, in the order of `slots`.

    `data` [bytes] (uint8) belongs to the sender, who uses it again: it is valid until the next bucket is asked for.
    """

    data: Tensor
    slots: tuple[Slot, ...]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, view into the buffer) of every tensor."""
        for slot in self.slots:
            yield slot.name, self.data[slot.start : slot.stop].view(slot.dtype).view(slot.shape)


def plan_buckets(tensors: Iterable[tuple[str, torch.dtype, tuple[int, ...]]], limit: int) -> list[tuple[Slot, ...]]:
    """Slots of every bucket, in order: at most `limit` bytes each, and what can't be apart, or one larger tensor.

    A bucket also ends before a tensor that would not be aligned to its dtype, since there are no gaps.
    """
    buckets: list[tuple[Slot, ...]] = []
    slots: list[Slot] = []
    end = 0
    for name, dtype, shape in tensors:
        slot = Slot(name, dtype, tuple(shape), end)
        if slots and _ends_before(slot, slots[-1].name, limit):
            buckets.append(tuple(slots))
            slots, slot = [], Slot(name, dtype, tuple(shape), 0)
        slots.append(slot)
        end = slot.stop
    if slots:
        buckets.append(tuple(slots))
    return buckets


def divisible(slots: Sequence[Slot]) -> bool:
    """Whether a lower limit would make several buckets of this one."""
    return len(slots) > 2 or (len(slots) == 2 and not _together(slots[0].name, slots[1].name))


def _ends_before(slot: Slot, last: str, limit: int) -> bool:
    """Whether a bucket whose last tensor has this name ends before the slot."""
    aligned = slot.start % slot.dtype.itemsize == 0
    return not aligned or (slot.stop > limit and not _together(last, slot.name))


def _together(first: str, second: str) -> bool:
    return first.endswith(TOGETHER[0]) and second.endswith(TOGETHER[1])


def to_buckets(tensors: Iterable[tuple[str, Tensor]], limit: int) -> Iterator[Bucket]:
    """Copy a stream of tensors into buckets of at most `limit` bytes, on the device of the first tensor of each."""
    pending: list[tuple[str, Tensor]] = []
    size = 0
    for name, tensor in tensors:
        if pending and _ends_before(Slot(name, tensor.dtype, tuple(tensor.shape), size), pending[-1][0], limit):
            yield _pack(pending)
            pending, size = [], 0
        pending.append((name, tensor.detach()))
        size += tensor.nbytes
    if pending:
        yield _pack(pending)


def _pack(tensors: list[tuple[str, Tensor]]) -> Bucket:
    (slots,) = plan_buckets(((name, t.dtype, tuple(t.shape)) for name, t in tensors), limit=1 << 62)
    data = torch.empty(slots[-1].stop, dtype=torch.uint8, device=tensors[0][1].device)
    bucket = Bucket(data, slots)
    for (_, target), (_, source) in zip(bucket.tensors(), tensors, strict=True):
        target.copy_(source)
    return bucket
