"""Samples drawn by the servers of a role: batches shared out over them, what a server loses drawn by another."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import Draw, Sample
from rzero_mega.rollout.sglang.pool.role_servers import Replica, ReplicaState, RoleServers
from rzero_mega.rollout.sglang.pool.watch import PROBES, ServerWatch
from rzero_mega.rollout.sglang.pool.wire import MalformedAnswer, Version, generate_body, read_sample
from rzero_mega.weights.transports.protocol import ServerError

_log = logging.getLogger(__name__)

Answers: TypeAlias = list[dict[str, Any]]


Taken: TypeAlias = Callable[[dict[int, Sample]], bool]


class Enough(Exception):
    """Whoever takes the samples wants no more of them; what servers still work on is dropped."""


def batches_of(draws: Sequence[Draw], size: int) -> list[Sequence[Draw]]:
    """So many draws each, in their order."""
    return [draws[start : start + size] for start in range(0, len(draws), size)]


@dataclass(frozen=True)
class Batch:
    """What one HTTP request asks for, and how many times it was asked for in vain."""

    draws: list[Draw]
    attempts: int = 0


class Dispatch:
    """The draws of one call on their way to servers and back."""

    def __init__(
        self,
        servers: RoleServers,
        batches: Sequence[Sequence[Draw]],
        version: Version,
        stop: Sequence[int],
        context: int,
        taken: Taken = lambda _samples: True,
    ) -> None:
        """`stop` are the tokens that end a sample; `context` bounds a prompt and its response together.

        `taken` gets samples as they come, by the positions of their draws; once it says no, nothing more is drawn.
        """
        self._servers, self._version, self._stop, self._context = servers, version, stop, context
        self._pending = deque(Batch(list(batch)) for batch in batches)
        self._taken = taken
        size = max(map(len, batches), default=1)
        self._running: dict[Future[Answers], tuple[Replica, Batch]] = {}
        self._samples: dict[int, Sample] = {}
        # As many requests as a server works on, and one more that it finds waiting.
        self._per_server = 1 + servers.config.max_running_requests // size

    def run(self) -> tuple[dict[int, Sample], list[Draw]]:
        """Samples by the positions of their draws, and the draws that no server was left for.

        A batch goes to the server with the fewest under way. What a dead server leaves, and what a server aborts, goes
        to others; UserError if a batch fails `rollout.sglang.attempts` times.
        """
        servers = len(self._servers.all())
        with _threads((self._per_server + PROBES) * servers, self._servers.serving) as threads:
            watch = ServerWatch(self._servers.config, threads)
            while self._pending or self._running:
                for replica, batch in self._assign():
                    body = generate_body(batch.draws, self._stop, self._context)
                    self._running[threads.submit(replica.client.generate, body)] = replica, batch
                if not self._running:
                    break
                for future in wait(self._running, watch.period_s, FIRST_COMPLETED).done:
                    self._take(future, *self._running.pop(future))
                watch.end_silent([replica for replica, _ in self._running.values()])
        return self._samples, [draw for batch in self._pending for draw in batch.draws]

    def _assign(self) -> Iterator[tuple[Replica, Batch]]:
        """Batches that wait, each with the server that it goes to, as long as one has room."""
        load = {id(replica): 0 for replica in self._servers.serving()}
        for replica, _ in self._running.values():
            if id(replica) in load:
                load[id(replica)] += 1
        while self._pending and load:
            replica = min(self._servers.serving(), key=lambda r: load[id(r)])
            if load[id(replica)] >= self._per_server:
                return
            load[id(replica)] += 1
            yield replica, self._pending.popleft()

    def _take(self, future: Future[Answers], replica: Replica, batch: Batch) -> None:
        """Take a batch's answers in, or have it drawn again."""
        try:
            answers = future.result()
            if len(answers) != len(batch.draws):
                raise MalformedAnswer(f"{len(answers)} answers to {len(batch.draws)} requests")
            samples = [read_sample(d, a, self._version) for d, a in zip(batch.draws, answers, strict=True)]
        except ServerError as error:
            if replica.state is ReplicaState.SERVING and not replica.answers():
                _log.warning("%s; its requests go to other servers", error)
                replica.state = ReplicaState.STARTING
                self._servers.replace(replica)
            self._again(batch.draws, batch.attempts, error)
            return
        except UserError as error:
            raise UserError(f"{replica.client.name}: {error}") from None
        pairs = list(zip(batch.draws, samples, strict=True))
        drawn = {draw.position: sample for draw, sample in pairs if sample is not None}
        self._samples.update(drawn)
        if not self._taken(drawn):
            raise Enough
        aborted = [draw for draw, sample in pairs if sample is None]
        if aborted:
            reason = ServerError(f"{replica.client.name}: aborted {len(aborted)} requests")
            self._again(aborted, batch.attempts, reason)

    def _again(self, draws: list[Draw], attempts: int, error: ServerError) -> None:
        if attempts + 1 >= self._servers.config.attempts:
            raise UserError(f"{error} ({attempts + 1} attempts, rollout.sglang.attempts)")
        self._pending.append(Batch(draws, attempts + 1))


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
