"""Where weights come from: sources that can be streamed again and again, bucket by bucket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from rzero_mega import spmd
from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.hf_folder import HfWeights
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.reshard.fast import stream_buckets
from rzero_mega.weights.reshard.plan import ReshardPlan
from rzero_mega.weights.shape import ModelShape


class WeightSource(Protocol):
    """Weights that can be streamed any number of times; every rank takes part in every pass, to its end.

    Receivers get every bucket, other ranks none.
    """

    def __iter__(self) -> Iterator[Bucket]:
        """A pass over the weights as they are now."""
        ...


@dataclass(frozen=True)
class PlannedWeights:
    """`WeightSource` by the fast executor. `local` gives this rank's shards as they are when a pass begins."""

    plan: ReshardPlan
    local: Callable[[], Mapping[str, Tensor]]
    rank: int
    device: torch.device

    def __iter__(self) -> Iterator[Bucket]:
        return stream_buckets(self.plan, self.local(), self.rank, self.device)


@dataclass(frozen=True)
class GatheredWeights:
    """`WeightSource` from full tensors: the reference executor, a folder, a dictionary.

    `tensors` starts a pass. A rank that does not receive takes part and drops what it gets.
    """

    tensors: Callable[[], Iterator[tuple[str, Tensor]]]
    bucket_bytes: int
    receives: bool = True

    def __iter__(self) -> Iterator[Bucket]:
        if self.receives:
            yield from to_buckets(self.tensors(), self.bucket_bytes)
            return
        for _ in self.tensors():
            pass


@dataclass(frozen=True)
class FolderWeights:
    """`WeightSource` from a model folder, in the order of the family's table; `readers` read, others get no bucket."""

    folder: Path
    shape: ModelShape
    bucket_bytes: int
    readers: tuple[int, ...] = (0,)

    def __iter__(self) -> Iterator[Bucket]:
        if spmd.rank() in self.readers:
            yield from GatheredWeights(self._tensors, self.bucket_bytes)

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        with HfWeights(self.folder) as weights:
            for entry in entries(self.shape):
                for name in entry.hf:
                    yield name, weights.tensor(name)


def tensors_of(source: WeightSource) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every bucket; a tensor is valid until the next one is asked for."""
    for bucket in source:
        yield from bucket.tensors()
