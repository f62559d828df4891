"""A `RolloutEngine` made of SGLang servers. All ranks hold one; the first speaks with the servers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rzero_mega import spmd
from rzero_mega.config.schema import VerifyConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.limits import check_prompts
from rzero_mega.rollout.protocol import EngineHealth, Request, Sample, Scored
from rzero_mega.rollout.sglang.pool.replicas import Replica, Replicas, State
from rzero_mega.rollout.sglang.pool.turns import EVERYTHING, WEIGHTS
from rzero_mega.rollout.sglang.pool.wire import Draw, Version, draws_of, read_score, score_body
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.hf_folder import dtype_named
from rzero_mega.weights.quantization.scheme import Scheme, quantize_stream
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.sources import WeightSource
from rzero_mega.weights.transports.protocol import Server, ServerError, Transport
from rzero_mega.weights.transports.session import update_servers
from rzero_mega.weights.verification.checksums import ExpectedChecksums, check_checksums
from rzero_mega.weights.verification.stream import checked_stream

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedModel:
    """What an engine has to know of the model that its servers run."""

    shape: ModelShape
    stop_tokens: tuple[int, ...]
    context: int
    dtype: str


@dataclass(frozen=True)
class ServerLink:
    """What the first rank alone has: the servers, how weights go to them (`scheme`: as FP8).

    `take` makes it these servers' turn to hold what they need in memory (see `turns`).
    """

    replicas: Replicas
    take: Callable[[frozenset[str]], None]
    transport: Transport
    scheme: Scheme | None
    tp: int
    attempts: int
    verify: VerifyConfig

    def check(self, server: Server, expected: ExpectedChecksums, version: str) -> None:
        """Compare checksums (see `check_checksums`); where that is not possible, tell why."""
        result = check_checksums(server, expected, version)
        if not result.available:
            _log.info(result.detail)


class SglangEngine:
    """One policy on servers that may outlive the engine. `link` is None on all ranks but the first.

    Weights are those of `source`, under `version`; a server that was replaced gets them from there, for which all
    ranks pass over the source once more.
    """

    def __init__(
        self,
        model: ServedModel,
        link: ServerLink | None,
        source: WeightSource,
        name: Callable[[int], str],
        make_room: Callable[[], None],
    ) -> None:
        """`name` gives the servers' name of a version. The servers hold, or wait for, the weights of version 0.

        Every rank calls `make_room` before servers take memory.
        """
        self._model, self._link, self._source, self._name = model, link, source, name
        self._make_room = make_room
        self._version = Version(0, name(0))
        self._updates = 0

    @property
    def receivers(self) -> Sequence[int]:
        """The first rank, which sends on."""
        return (0,)

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """All samples, request-major, then by index; the same list on every rank."""
        check_prompts(requests, self._model.context)
        left: list[Draw] = draws_of(requests)
        drawn: dict[int, Sample] = {}
        self._make_room()
        while left:
            self._supply(EVERYTHING)
            done, left = spmd.on_rank_0(self._draw, left)
            drawn.update(done)
        return [drawn[position] for position in range(len(drawn))]

    def score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        """Log-probability of every response token under the present weights, by one server."""
        self._make_room()
        self._supply(EVERYTHING)
        return spmd.on_rank_0(self._score, sequences)

    def update_weights(self, source: WeightSource, version: int) -> None:
        """Bring the source's weights to every server, and check that they arrived."""
        self._source, self._version = source, Version(version, self._name(version))
        if self._link is not None:
            for replica in self._link.replicas.serving():
                replica.state = State.WAITING
        self._make_room()
        self._supply(WEIGHTS)

    def health(self) -> EngineHealth:
        """Whether a server serves, as the first rank sees it; True on others."""
        ready = self._link is None or bool(self._link.replicas.serving())
        return EngineHealth(ready, self._version.number)

    def close(self) -> None:
        """Nothing: the servers go on, for the next engine of their role."""

    def _draw(self, draws: Sequence[Draw]) -> tuple[dict[int, Sample], list[Draw]]:
        assert self._link is not None
        return self._link.replicas.generate(draws, self._version, self._model.stop_tokens, self._model.context)

    def _score(self, sequences: Sequence[Scored]) -> list[tuple[float, ...]]:
        assert self._link is not None
        client = self._link.replicas.serving()[0].client
        answers = client.generate(score_body(sequences))
        return [read_score(s, a, self._version) for s, a in zip(sequences, answers, strict=True)]

    def _admit(self, needed: frozenset[str]) -> bool:
        """Take the servers' turn, and take in those that are ready; whether one waits for weights."""
        assert self._link is not None
        self._link.take(needed)
        return self._link.replicas.admit()

    def _supply(self, needed: frozenset[str]) -> None:
        """Until no server waits for weights: send them, over and over if a server dies of it."""
        attempt = 0
        while spmd.on_rank_0(self._admit, needed):
            error: UserError | None = None
            if self._link is None:
                for _ in self._source:
                    pass
            else:
                error = self._send(self._link)
            attempt += 1
            spmd.on_rank_0(self._settle, error, attempt)

    def _send(self, link: ServerLink) -> UserError | None:
        """One pass over the source to all servers that wait; the error that kept it from arriving."""
        buckets = iter(self._source)
        waiting = link.replicas.waiting()
        try:
            self._update(link, waiting, buckets)
        except UserError as error:
            return error
        finally:
            for _ in buckets:  # other ranks are in the same pass, and take part to its end
                pass
        for replica in waiting:
            replica.state = State.SERVING
        return None

    def _update(self, link: ServerLink, waiting: Sequence[Replica], buckets: Iterator[Bucket]) -> None:
        every = link.verify.checksums_every
        check = None
        stream = checked_stream(buckets, self._model.shape)
        if every and self._updates % every == 0:
            expected = ExpectedChecksums(self._model.shape, link.tp, dtype_named(self._model.dtype))
            stream = expected.watch(stream)

            def check(server: Server) -> None:
                link.check(server, expected, self._version.on_server)

        if link.scheme is not None:
            stream = quantize_stream(stream, link.scheme)
        self._updates += 1
        update_servers([replica.client for replica in waiting], link.transport, stream, self._version.on_server, check)

    def _settle(self, error: UserError | None, attempt: int) -> None:
        """Replace servers that an update killed; raise what is not the death of a server, or comes too often."""
        if error is None:
            return
        assert self._link is not None
        dead = [replica for replica in self._link.replicas.waiting() if not replica.answers()]
        if not isinstance(error, ServerError) or not dead or attempt >= self._link.attempts:
            raise error
        for replica in dead:
            self._link.replicas.replace(replica)
