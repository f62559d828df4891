"""Megatron tensors in two buffers that take turns: one is read while the one before is written.

Allocating fresh memory for each tensor takes as long as reading it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from rzero_mega.learner.checkpoints.conversion.stored_tensors import StoredTensor
from rzero_mega.weights.hf_folder import HfWeights
from rzero_mega.weights.mapping.regions import shard_contents
from rzero_mega.weights.shape import ModelShape

T = TypeVar("T")


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The items, each of them made in a thread while the one before is in use."""
    with ThreadPoolExecutor(1) as thread:
        end = object()
        iterator = iter(items)
        following = thread.submit(next, iterator, end)
        while (item := following.result()) is not end:
            following = thread.submit(next, iterator, end)
            yield item  # type: ignore[misc]


class Scratch:
    """Two buffers in turn, as large as the largest tensors so far."""

    def __init__(self) -> None:
        self._buffers = [bytearray(), bytearray()]

    def tensor(self, sizes: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """A tensor with whatever is in memory, valid until the next but one is asked for."""
        count = prod(sizes) * dtype.itemsize
        self._buffers.reverse()
        if count > len(self._buffers[0]):
            self._buffers[0] = bytearray(count)
        # A storage of its own size: torch copies a part of a larger one before it saves it.
        return torch.frombuffer(memoryview(self._buffers[0])[:count], dtype=dtype).reshape(sizes)


class MergedReader:
    """Megatron tensors from a folder in Hugging Face format: every row is read straight to its place."""

    def __init__(self, weights: HfWeights, shape: ModelShape) -> None:
        self._weights, self._shape, self._scratch = weights, shape, Scratch()

    def read(self, stored: StoredTensor, dtype: torch.dtype) -> Tensor:
        """The full Megatron tensor, valid until the next but one is asked for."""
        full = self._scratch.tensor(stored.sizes[stored.stacked :], dtype)
        for region in shard_contents(stored.entry, self._shape, index=0, count=1).regions:
            rows = full[region.row : region.row + region.hf.rows]
            self._weights.read_rows(stored.entry.hf[region.tensor], region.hf.row, rows)
        return full
