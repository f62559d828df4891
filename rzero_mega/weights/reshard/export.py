"""The learner's present weights as a stream that can be taken again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.reshard.fast import stream_buckets
from rzero_mega.weights.reshard.plan import ReshardPlan


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


def tensors_of(source: WeightSource) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every bucket; a tensor is valid until the next one is asked for."""
    for bucket in source:
        yield from bucket.tensors()
