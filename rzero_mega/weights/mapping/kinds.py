"""How one Megatron tensor is made of Hugging Face tensors, and how it is cut over tensor-parallel ranks.

Every kind is a pair of bijections. `merge` and `split` go between the Hugging Face tensors and the full Megatron
tensor, `shard` and `unshard` between the full tensor and the tensor-parallel shards. They move elements and never
compute, so that a round trip is exact to the bit. They hold for anything shaped like the weight, gradients and moments
included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rzero_mega.weights.shape import ModelShape


class Kind(Protocol):
    """The four directions, and the dimension that tensor parallelism cuts (None: every rank holds all)."""

    def __hash__(self) -> int: ...

    @property
    def cut_dim(self) -> int | None:
        """0 for rows, 1 for columns, of the Hugging Face tensors as of the full tensor."""
        ...

    def merge(self, parts: Sequence[Tensor], shape: ModelShape) -> Tensor:
        """Hugging Face tensors, in the rule's order, to the full Megatron tensor."""
        ...

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        """The full Megatron tensor to Hugging Face tensors, in the rule's order."""
        ...

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        """The part of the full tensor that tensor-parallel `rank` of `tp` holds."""
        ...

    def unshard(self, parts: Sequence[Tensor]) -> Tensor:
        """The full tensor from the parts of all tensor-parallel ranks, in rank order."""
        ...


@dataclass(frozen=True)
class Single:
    """One Hugging Face tensor, cut along `cut_dim`; None is held whole by every rank."""

    cut_dim: int | None = None

    def merge(self, parts: Sequence[Tensor], shape: ModelShape) -> Tensor:
        (part,) = parts
        return part

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        return [full]

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        return full if self.cut_dim is None else full.chunk(tp, self.cut_dim)[rank]

    def unshard(self, parts: Sequence[Tensor]) -> Tensor:
        return parts[0] if self.cut_dim is None else torch.cat(list(parts), self.cut_dim)


REPLICATED = Single(None)
COLUMN = Single(0)
ROW = Single(1)


@dataclass(frozen=True)
class Vocabulary(Single):
    """Rows are vocabulary entries, [v, h]; zero rows are added until tensor parallelism divides them."""

    cut_dim: int | None = 0

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        return [full[: shape.vocab]]

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        missing = -full.size(0) % tp
        if missing:
            full = torch.cat([full, full.new_zeros(missing, *full.shape[1:])])
        return full.chunk(tp)[rank]


@dataclass(frozen=True)
class FusedQkv:
    """q, k, v interleaved per key-value group: for each group its query heads, then its key, then its value.

    Works on weights [n * d, h] and biases [n * d]. Tensor parallelism cuts into equal blocks of rows: between groups,
    or within them where there are fewer groups than ranks (Megatron-core then gathers the activations).
    """

    cut_dim: int | None = 0

    def merge(self, parts: Sequence[Tensor], shape: ModelShape) -> Tensor:
        q, k, v = (part.reshape(shape.kv_heads, -1, *part.shape[1:]) for part in parts)
        return torch.cat([q, k, v], 1).reshape(-1, *parts[0].shape[1:])

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        d = shape.head_dim
        queries = shape.heads // shape.kv_heads * d
        grouped = full.reshape(shape.kv_heads, queries + 2 * d, *full.shape[1:])
        return [part.reshape(-1, *full.shape[1:]) for part in grouped.split([queries, d, d], 1)]

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        return full.chunk(tp)[rank]

    def unshard(self, parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))


@dataclass(frozen=True)
class GatedColumn:
    """Gate over up projection, [2 * f, h]; tensor parallelism cuts each half, so every rank holds gate over up."""

    cut_dim: int | None = 0

    def merge(self, parts: Sequence[Tensor], shape: ModelShape) -> Tensor:
        return torch.cat(list(parts))

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        return list(full.chunk(2))

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        return torch.cat([half.chunk(tp)[rank] for half in full.chunk(2)])

    def unshard(self, parts: Sequence[Tensor]) -> Tensor:
        halves = [part.chunk(2) for part in parts]
        return torch.cat([gate for gate, _ in halves] + [up for _, up in halves])
