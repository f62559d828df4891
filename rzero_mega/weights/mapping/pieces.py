"""Which rectangle of which Hugging Face tensor lies where in a shard.

Derived from the kinds themselves: a kind is applied to the numbers of the rows, and the runs in what comes out are the
pieces. So there is no second definition that could disagree with the first.
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
class Piece:
    """`rows` x `columns` elements of tensor number `tensor` of an entry.

    They begin at (hf_row, hf_column) there and at (row, column) in the shard. One-dimensional tensors have one column.
    """

    tensor: int
    hf_row: int
    hf_column: int
    row: int
    column: int
    rows: int
    columns: int


@dataclass(frozen=True)
class ShardLayout:
    """A shard of [rows, columns] elements and the pieces in it, in the order of its rows; padding is in none."""

    rows: int
    columns: int
    pieces: tuple[Piece, ...]


def shard_layout(entry: Entry, shape: ModelShape, part: int, parts: int) -> ShardLayout:
    """What shard `part` of `parts` holds of the entry's Hugging Face tensors."""
    return _layout(entry.kind, entry.sizes, shape, part, parts)


@lru_cache(maxsize=4096)  # the layers of a model are alike
def _layout(kind: Any, sizes: tuple[tuple[int, ...], ...], shape: ModelShape, part: int, parts: int) -> ShardLayout:
    columns = sizes[0][1] if len(sizes[0]) > 1 else 1
    if kind.cut_dim == 1:
        rows, width = sizes[0][0], columns // parts
        return ShardLayout(rows, width, (Piece(0, 0, part * width, 0, 0, rows, width),))
    starts, numbers = [0], []
    for size in sizes:
        numbers.append(torch.arange(starts[-1] + 1, starts[-1] + size[0] + 1)[:, None])
        starts.append(starts[-1] + size[0])
    # Rows are counted from 1 over all tensors of the entry: 0 marks the rows that a kind fills up with.
    shard = kind.shard(kind.merge(numbers, shape), parts, part)[:, 0]
    return ShardLayout(len(shard), columns, tuple(_runs(shard, starts, columns)))


def _runs(numbers: Tensor, starts: list[int], columns: int) -> list[Piece]:
    """Runs of consecutive row numbers, cut where a tensor ends."""
    owner = torch.searchsorted(torch.tensor(starts[:-1]) + 1, numbers, right=True) - 1
    breaks = (numbers.diff() != 1) | (owner.diff() != 0)
    begins = [0, *(breaks.nonzero()[:, 0] + 1).tolist()]
    found = []
    for begin, end in zip(begins, [*begins[1:], len(numbers)], strict=True):
        number, tensor = int(numbers[begin]), int(owner[begin])
        if number > 0:
            found.append(Piece(tensor, number - 1 - starts[tensor], 0, begin, 0, end - begin, columns))
    return found
