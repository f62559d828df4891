"""How one Megatron tensor is made of Hugging Face tensors, and how tensor parallelism shards it.

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
    """The four directions, and the dimension that tensor parallelism shards."""

    def __hash__(self) -> int: ...

    @property
    def shard_dim(self) -> int | None:
        """0 for rows, 1 for columns, of Hugging Face and full tensor alike; None if every rank holds all of it."""
        ...

    def merge(self, tensors: Sequence[Tensor], shape: ModelShape) -> Tensor:
        """Hugging Face tensors, in the rule's order, to the full Megatron tensor."""
        ...

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        """The full Megatron tensor to Hugging Face tensors, in the rule's order."""
        ...

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        """What tensor-parallel `rank` of `tp` holds of the full tensor."""
        ...

    def unshard(self, shards: Sequence[Tensor]) -> Tensor:
        """The full tensor from the shards of all tensor-parallel ranks, in rank order."""
        ...


@dataclass(frozen=True)
class Single:
    """One Hugging Face tensor, sharded along `shard_dim`; None: every rank holds all of it."""

    shard_dim: int | None = None

    def merge(self, tensors: Sequence[Tensor], shape: ModelShape) -> Tensor:
        (tensor,) = tensors
        return tensor

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        return [full]

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        return full if self.shard_dim is None else full.chunk(tp, self.shard_dim)[rank]

    def unshard(self, shards: Sequence[Tensor]) -> Tensor:
        return shards[0] if self.shard_dim is None else torch.cat(list(shards), self.shard_dim)


REPLICATED = Single(None)
COLUMN = Single(0)
ROW = Single(1)


@dataclass(frozen=True)
class Vocabulary(Single):
    """Rows are vocabulary entries, [v, h]; zero rows are added until tensor parallelism divides them."""

    shard_dim: int | None = 0

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

    Works on weights [(n + 2 * g) * d, h] and biases [(n + 2 * g) * d], n, g and h of the whole model. Shards are equal
    blocks of rows: whole groups, or parts of one where there are fewer groups than ranks (Megatron-core then gathers
    the activations).
    """

    shard_dim: int | None = 0

    def merge(self, tensors: Sequence[Tensor], shape: ModelShape) -> Tensor:
        q, k, v = (tensor.reshape(shape.kv_heads, -1, *tensor.shape[1:]) for tensor in tensors)
        return torch.cat([q, k, v], 1).reshape(-1, *tensors[0].shape[1:])

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        d = shape.head_dim
        queries = shape.heads // shape.kv_heads * d
        grouped = full.reshape(shape.kv_heads, queries + 2 * d, *full.shape[1:])
        return [tensor.reshape(-1, *full.shape[1:]) for tensor in grouped.split([queries, d, d], 1)]

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        return full.chunk(tp)[rank]

    def unshard(self, shards: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(shards))


@dataclass(frozen=True)
class GatedColumn:
    """Gate over up projection, [2 * f, h]; each half is sharded, so every rank holds gate over up."""

    shard_dim: int | None = 0

    def merge(self, tensors: Sequence[Tensor], shape: ModelShape) -> Tensor:
        return torch.cat(list(tensors))

    def split(self, full: Tensor, shape: ModelShape) -> list[Tensor]:
        return list(full.chunk(2))

    def shard(self, full: Tensor, tp: int, rank: int) -> Tensor:
        return torch.cat([half.chunk(tp)[rank] for half in full.chunk(2)])

    def unshard(self, shards: Sequence[Tensor]) -> Tensor:
        halves = [shard.chunk(2) for shard in shards]
        return torch.cat([gate for gate, _ in halves] + [up for _, up in halves])
