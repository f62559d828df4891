"""The servers of one role: requests shared out over them, a dead one's requests sent elsewhere, a dead one replaced.

For the one process that speaks with the servers, and its main thread: servers die with the thread that started them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from rzero_mega.config.schema import SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Sample
from rzero_mega.rollout.sglang.pool.wire import Draw, MalformedAnswer, Version, generate_body, read_sample
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.handle import ServerHandle
from rzero_mega.weights.transports.protocol import ServerError

_log = logging.getLogger(__name__)

READY_S = 5.0


class State(Enum):
    """What a replica can be used for."""

    STARTING = "starting"
    WAITING = "waiting for weights"
    SERVING = "serving"


@dataclass
class Replica:
    """One server of the role: its process, its client, and what it can be used for.

    `released` is what it has given back of its memory (see `turns`).
    """

    title: str
    number: int
    process: ServerHandle
    request_timeout_s: float
    starts: int
    state: State = State.STARTING
    released: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """What messages call the server, also before it has an address."""
        return f"{self.title} ({self.process.where})"

    @cached_property
    def client(self) -> SglangClient:
        """Its client, for a server that is or was ready."""
        return self.process.client(self.title, self.request_timeout_s)

    def hang_up(self) -> None:
        """Give up the client's connections."""
        if "client" in self.__dict__:
            self.client.close()

    def answers(self) -> bool:
        """Whether its process lives and takes requests."""
        return self.process.alive() and self.client.ready(READY_S)


@dataclass
class _Batch:
    draws: list[Draw]
    attempts: int = 0


class Replicas:
    """`config.replicas` servers of one role. Every method may raise UserError, one line that names the server."""

    def __init__(self, role: str, start: Callable[[int, int], ServerHandle], config: SglangConfig) -> None:
        """Start all servers. Returns at once.

        `start` takes the number of a server and how many times one of that number has been started, counted from 1.
        """
        self._role, self._start, self._config = role, start, config
        # Servers that were replaced: threads may still wait for their answers.
        self._retired: list[Replica] = []
        self._replicas = [self._new(number, 1) for number in range(config.replicas)]

    def all(self) -> list[Replica]:
        """All servers, whatever they can be used for."""
        return list(self._replicas)

    def settle(self, replica: Replica) -> bool:
        """Wait until a server that starts is ready; whether it lives. UserError if it does not get ready in time."""
        if replica.state is State.STARTING:
            try:
                self._await(replica)
            except UserError:
                if replica.process.alive():
                    raise
        return replica.process.alive()

    def serve_first_weights(self) -> None:
        """Wait until all servers are ready; they serve the weights of the folder that they were started on."""
        for replica in self._replicas:
            self._await(replica)
            replica.state = State.SERVING

    def admit(self) -> bool:
        """Take in what has become ready, replace what has died; whether a server now waits for weights.

        Waits for servers that start only if there is none that serves. To be called while nothing is being drawn.
        """
        while self._retired:
            self._retired.pop().hang_up()
        for replica in list(self._replicas):
            if replica.state is State.STARTING and replica.process.ready():
                replica.state = State.WAITING
            elif not replica.process.alive():
                self.replace(replica)
        if not self._in(State.SERVING, State.WAITING):
            for replica in self._replicas:
                self._await(replica)
                replica.state = State.WAITING
        return bool(self._in(State.WAITING))

    def waiting(self) -> list[Replica]:
        """Servers that wait for weights."""
        return self._in(State.WAITING)

    def serving(self) -> list[Replica]:
        """Servers that generate."""
        return self._in(State.SERVING)

    def replace(self, replica: Replica) -> None:
        """End a server that is dead or of no use, and start another in its place."""
        _log.warning("%s ended (%s); starting another", replica.name, replica.process.reason())
        if replica.starts >= self._config.attempts:
            raise UserError(
                f"{replica.name} ended {replica.starts} times (rollout.sglang.attempts); see {replica.process.log}"
            )
        self._retired.append(replica)
        replica.process.stop()
        self._replicas[self._replicas.index(replica)] = self._new(replica.number, replica.starts + 1)

    def generate(
        self, draws: Sequence[Draw], version: Version, stop: Sequence[int], context: int
    ) -> tuple[dict[int, Sample], list[Draw]]:
        """Samples by the positions of their draws, and the draws that no server was left for.

        A batch goes to the server with the fewest under way. What a dead server leaves, and what a server aborts, goes
        to others; a batch that fails `config.attempts` times raises.
        """
        work = _Work(draws, self._config.samples_per_request)
        slots = 1 + self._config.max_running_requests // self._config.samples_per_request
        running: dict[Future[list[dict[str, Any]]], tuple[Replica, _Batch]] = {}
        with _threads(slots * len(self._replicas), self.serving) as threads:
            while work.pending or running:
                for replica, batch in self._assign(work, running, slots):
                    body = generate_body(batch.draws, stop, context)
                    running[threads.submit(replica.client.generate, body)] = replica, batch
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    replica, batch = running.pop(future)
                    self._take(future, replica, batch, version, work)
        return work.samples, [draw for batch in work.pending for draw in batch.draws]

    def stop(self) -> None:
        """End all servers at once. Nothing is under way: a graceful end would wait ten seconds for requests of none."""
        for replica in (*self._retired, *self._replicas):
            replica.hang_up()
        with ThreadPoolExecutor(len(self._replicas)) as threads:
            ends = [threads.submit(replica.process.stop) for replica in self._replicas]
        for end in ends:
            end.result()

    def _new(self, number: int, attempt: int) -> Replica:
        title = f"{self._role} replica {number}"
        return Replica(title, number, self._start(number, attempt), self._config.request_timeout_s, attempt)

    def _await(self, replica: Replica) -> None:
        replica.process.wait_ready(self._config.start_timeout_s)

    def _in(self, *states: State) -> list[Replica]:
        return [replica for replica in self._replicas if replica.state in states]

    def _assign(
        self, work: _Work, running: dict[Future[list[dict[str, Any]]], tuple[Replica, _Batch]], slots: int
    ) -> Iterator[tuple[Replica, _Batch]]:
        load = {id(replica): 0 for replica in self.serving()}
        for replica, _ in running.values():
            if id(replica) in load:
                load[id(replica)] += 1
        while work.pending and load:
            replica = min(self.serving(), key=lambda r: load[id(r)])
            if load[id(replica)] >= slots:
                return
            load[id(replica)] += 1
            yield replica, work.pending.popleft()

    def _take(
        self,
        future: Future[list[dict[str, Any]]],
        replica: Replica,
        batch: _Batch,
        version: Version,
        work: _Work,
    ) -> None:
        try:
            answers = future.result()
            if len(answers) != len(batch.draws):
                raise MalformedAnswer(f"{len(answers)} answers to {len(batch.draws)} requests")
            samples = [read_sample(d, a, version) for d, a in zip(batch.draws, answers, strict=True)]
        except ServerError as error:
            if replica.state is State.SERVING and not replica.answers():
                _log.warning("%s; its requests go to other servers", error)
                replica.state = State.STARTING
                self.replace(replica)
            self._again(batch.draws, batch.attempts, error, work)
            return
        except UserError as error:
            raise UserError(f"{replica.client.name}: {error}") from None
        for draw, sample in zip(batch.draws, samples, strict=True):
            if sample is not None:
                work.samples[draw.position] = sample
        aborted = [draw for draw, sample in zip(batch.draws, samples, strict=True) if sample is None]
        if aborted:
            reason = ServerError(f"{replica.client.name}: aborted {len(aborted)} requests")
            self._again(aborted, batch.attempts, reason, work)

    def _again(self, draws: list[Draw], attempts: int, error: ServerError, work: _Work) -> None:
        if attempts + 1 >= self._config.attempts:
            raise UserError(f"{error} ({attempts + 1} attempts, rollout.sglang.attempts)")
        work.pending.append(_Batch(draws, attempts + 1))


class _Work:
    """What is still to be drawn, and what has been."""

    def __init__(self, draws: Sequence[Draw], batch_size: int) -> None:
        self.pending = deque(
            _Batch(list(draws[start : start + batch_size])) for start in range(0, len(draws), batch_size)
        )
        self.samples: dict[int, Sample] = {}


@contextmanager
def _threads(count: int, serving: Callable[[], list[Replica]]) -> Iterator[ThreadPoolExecutor]:
    """Threads that wait for answers. On an error servers are told to drop what runs, so that no thread waits long."""
    threads = ThreadPoolExecutor(count)
    try:
        yield threads
    except BaseException:
        for replica in serving():
            with suppress(ServerError):
                replica.client.abort_all()
        raise
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
