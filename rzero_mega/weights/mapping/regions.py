"""Which region of which Hugging Face tensor lies where in a shard.

Derived from the kinds themselves: a kind is applied to the numbers of the rows, and the runs in what comes out are the
regions. So there is no second definition that could disagree with the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from rzero_mega.weights.mapping.table import Entry
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class Region:
    """A rectangle of a tensor: `rows` x `columns` elements from (row, column) on.

    One-dimensional tensors have one column.
    """

    row: int
    column: int
    rows: int
    columns: int

    def intersection(self, other: Region) -> Region | None:
        """What both hold of the same tensor; None if nothing."""
        row, column = max(self.row, other.row), max(self.column, other.column)
        rows = min(self.row + self.rows, other.row + other.rows) - row
        columns = min(self.column + self.columns, other.column + other.columns) - column
        return Region(row, column, rows, columns) if rows > 0 and columns > 0 else None


@dataclass(frozen=True)
class ShardRegion:
    """The region `hf` of an entry's Hugging Face tensor number `tensor`; it begins at (row, column) of the shard."""

    tensor: int
    hf: Region
    row: int
    column: int


@dataclass(frozen=True)
class ShardContents:
    """A shard of [rows, columns] elements and the regions in it, in the order of its rows; padding is in none."""

    rows: int
    columns: int
    regions: tuple[ShardRegion, ...]


def shard_contents(entry: Entry, shape: ModelShape, index: int, count: int) -> ShardContents:
    """What shard `index` of `count` holds of the entry's Hugging Face tensors."""
    return _contents(entry.kind, entry.sizes, shape, index, count)


@lru_cache(maxsize=4096)  # the layers of a model are alike
def _contents(
    kind: Any, sizes: tuple[tuple[int, ...], ...], shape: ModelShape, index: int, count: int
) -> ShardContents:
    columns = sizes[0][1] if len(sizes[0]) > 1 else 1
    if kind.shard_dim == 1:
        rows, width = sizes[0][0], columns // count
        return ShardContents(rows, width, (ShardRegion(0, Region(0, index * width, rows, width), 0, 0),))
    starts, numbers = [0], []
    for size in sizes:
        numbers.append(torch.arange(starts[-1] + 1, starts[-1] + size[0] + 1)[:, None])
        starts.append(starts[-1] + size[0])
    # Rows are counted from 1 over all tensors of the entry: 0 marks the rows that a kind pads with.
    shard = kind.shard(kind.merge(numbers, shape), count, index)[:, 0]
    return ShardContents(len(shard), columns, tuple(_runs(shard, starts, columns)))


def _runs(numbers: Tensor, starts: list[int], columns: int) -> list[ShardRegion]:
    """Runs of consecutive row numbers, split where a tensor ends."""
    owner = torch.searchsorted(torch.tensor(starts[:-1]) + 1, numbers, right=True) - 1
    breaks = (numbers.diff() != 1) | (owner.diff() != 0)
    begins = [0, *(breaks.nonzero()[:, 0] + 1).tolist()]
    found = []
    for begin, end in zip(begins, [*begins[1:], len(numbers)], strict=True):
        number, tensor = int(numbers[begin]), int(owner[begin])
        if number > 0:
            hf = Region(number - 1 - starts[tensor], 0, end - begin, columns)
            found.append(ShardRegion(tensor, hf, begin, 0))
    return found
