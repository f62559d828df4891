"""Which rank holds which shard of which parameter: gathered once, the same on every rank."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rzero_mega import spmd


@dataclass(frozen=True)
class Shard:
    """What a rank holds of a parameter (global Megatron name): shard `index` of `count`, along its kind's dimension."""

    rank: int
    name: str
    index: int
    count: int
    shape: tuple[int, ...]
    dtype: torch.dtype


def holders_of(placement: Iterable[Shard]) -> dict[str, list[Shard]]:
    """The shards of every parameter."""
    holders: dict[str, list[Shard]] = defaultdict(list)
    for shard in placement:
        holders[shard.name].append(shard)
    return holders


def local_shards(rank: int, weights: Mapping[str, Tensor], shard_of: Callable[[str], tuple[int, int]]) -> list[Shard]:
    """The shards of this rank; `shard_of` gives (index, count) of a name."""
    return [Shard(rank, name, *shard_of(name), tuple(w.shape), w.dtype) for name, w in weights.items()]


def gather_placement(mine: list[Shard]) -> list[Shard]:
    """Shards of all ranks of the default process group, by rank."""
    return [shard for shards in spmd.all_gather(mine) for shard in shards]
