"""Rollout over the ranks of a process group: each draws its share, all get everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import torch.distributed as dist

from rzero_mega import spmd
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Arrived, Request, RolloutEngine, Sample, Scored

if TYPE_CHECKING:
    from rzero_mega.weights.sources import WeightSource


@dataclass(frozen=True)
class RequestSlice:
    """Samples of one request that one rank draws; `request` is the request's place in the whole list."""

    request: int
    first_index: int
    n: int


def split_requests(requests: Sequence[Request], ranks: int) -> list[list[RequestSlice]]:
    """Share all samples out: as many for every rank to within one, at most ranks - 1 requests cut.

    Requests are dealt out in turn, for neighbours tend to be of one kind and length, and the row of all their samples
    is then cut into equal stretches. Samples of one prompt thus stay together as far as balance allows, so that an
    engine reads the prompt once.
    """
    dealt = [i for rank in range(ranks) for i in range(rank, len(requests), ranks)]
    total = sum(request.n for request in requests)
    slices: list[list[RequestSlice]] = [[] for _ in range(ranks)]
    start = 0
    for i in dealt:
        end = start + requests[i].n
        for rank in range(ranks):
            low, high = max(start, total * rank // ranks), min(end, total * (rank + 1) // ranks)
            if low < high:
                slices[rank].append(RequestSlice(i, requests[i].first_index + low - start, high - low))
        start = end
    return slices


@dataclass(frozen=True)
class RankOutcome:
    """What a rank's draws came to: the versions of the weights that drew them, or why it has none.

    Only the message of an error travels: not every exception can be sent.
    """

    versions: frozenset[int]
    error: str | None = None
    is_users: bool = False


Collect: TypeAlias = Callable[[list[Sample]], list[list[Sample]]]


class ShardedEngine:
    """A `RolloutEngine` made of one engine per rank. Every rank calls every method with the same arguments (SPMD).

    Without an initialised process group, or alone in it, the engine's own answer is passed through. Samples travel as
    pickled objects, their tokens and log-probabilities as arrays.
    """

    def __init__(self, engine: RolloutEngine) -> None:
        """Wrap this rank's engine."""
        self._engine = engine

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """All samples of all requests on every rank, request-major, then by index. If one rank fails, all raise."""
        return self._draw(requests, spmd.all_gather)

    def generate_units(self, units: Sequence[Sequence[Request]], arrived: Arrived) -> None:
        """One unit after the other, each drawn by all ranks."""
        generate_in_turn(lambda unit: self._draw(unit, spmd.gather), units, arrived)

    @property
    def context(self) -> int:
        """The engine's own."""
        return self._engine.context

    @property
    def receivers(self) -> Sequence[int]:
        """Every rank: each has an engine."""
        return range(dist.get_world_size() if dist.is_initialized() else 1)

    def score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        """By this rank's engine: every rank computes the same."""
        return self._engine.score(sequences)

    def prepare(self) -> None:
        """Prepare this rank's engine."""
        self._engine.prepare()

    def update_weights(self, source: WeightSource, version: int) -> None:
        """Update this rank's engine; every rank must be a receiver of the source."""
        self._engine.update_weights(source, version)

    def close(self) -> None:
        """Close this rank's engine; the group stays."""
        self._engine.close()

    def _draw(self, requests: Sequence[Request], collect: Collect) -> list[Sample]:
        """All samples, on the ranks that `collect` gives what all ranks have; nothing on the others."""
        ranks = dist.get_world_size() if dist.is_initialized() else 1
        if ranks == 1:
            return self._engine.generate(requests)
        split = split_requests(requests, ranks)
        own = [replace(requests[cut.request], n=cut.n, first_index=cut.first_index) for cut in split[dist.get_rank()]]
        # A rank that raised at once would leave the others waiting in the exchange.
        samples, error = self._try(own)
        outcomes = spmd.all_gather(_outcome(samples, error))
        if error is not None:
            raise error
        _check(outcomes)
        drawn = collect(samples)
        return _merge(split, drawn) if drawn else []

    def _try(self, own: list[Request]) -> tuple[list[Sample], Exception | None]:
        try:
            return self._engine.generate(own), None
        except Exception as error:
            return [], error


def generate_in_turn(
    draw: Callable[[Sequence[Request]], list[Sample]], units: Sequence[Sequence[Request]], arrived: Arrived
) -> None:
    """`generate_units` of an engine that draws one unit after the other, with `draw`."""
    for number, unit in enumerate(units):
        samples = draw(unit)
        if not spmd.on_rank_0(arrived, number, samples):
            return


def _outcome(samples: Sequence[Sample], error: Exception | None) -> RankOutcome:
    versions = frozenset(sample.weight_version for sample in samples)
    return RankOutcome(versions) if error is None else RankOutcome(versions, str(error), isinstance(error, UserError))


def _check(outcomes: Sequence[RankOutcome]) -> None:
    for rank, outcome in enumerate(outcomes):
        if outcome.error is not None and outcome.is_users:
            raise UserError(outcome.error)
        if outcome.error is not None:
            raise RuntimeError(f"rollout failed on rank {rank}: {outcome.error}")
    versions = {version for outcome in outcomes for version in outcome.versions}
    if len(versions) > 1:
        raise RuntimeError(f"the ranks of one rollout serve different weight versions: {sorted(versions)}")


def _merge(split: list[list[RequestSlice]], drawn: list[list[Sample]]) -> list[Sample]:
    """The ranks' samples in the order of the requests, then by index."""
    placed: list[tuple[int, Sample]] = []
    for slices, samples in zip(split, drawn, strict=True):
        places = [cut.request for cut in slices for _ in range(cut.n)]
        placed.extend(zip(places, samples, strict=True))
    placed.sort(key=lambda entry: (entry[0], entry[1].index))
    return [sample for _, sample in placed]
