"""The servers of one role from their start to their end: what each can be used for, and another where one has died.

For the one process that speaks with the servers, and its main thread: servers die with the thread that started them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

from rzero_mega.activity import Activity
from rzero_mega.config.schema import SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool.server_work import Nobody, Observer
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.handle import ServerHandle
from rzero_mega.weights.transports.protocol import ServerError

if TYPE_CHECKING:
    from rzero_mega.rollout.sglang.pool.weight_sender import WeightSender

_log = logging.getLogger(__name__)


class ReplicaState(Enum):
    """What a replica can be used for."""

    STARTING = "starting"
    WAITING = "waiting for weights"
    SERVING = "serving"


@dataclass
class Replica:
    """A server as one of its role: what it can be used for, and how often a server of its number has been started.

    `released` is what it has given back of its memory (see `turns`), `base` the number of the engine whose first
    weights it has: adapters may have come beside them, and nothing else.
    """

    title: str
    number: int
    server: ServerHandle
    config: SglangConfig
    starts: int
    state: ReplicaState = ReplicaState.STARTING
    released: frozenset[str] = frozenset()
    base: int | None = None

    @property
    def name(self) -> str:
        """What messages call the server, also before it has an address."""
        return f"{self.title} ({self.server.where})"

    @cached_property
    def client(self) -> SglangClient:
        """Its client, for a server that is or was ready."""
        return self.server.client(self.title, self.config.hang_timeout_s)

    def hang_up(self) -> None:
        """Give up the client's connections."""
        if "client" in self.__dict__:
            self.client.close()

    def answers(self) -> bool:
        """Whether it lives and its schedulers answer."""
        return self.server.alive() and self.client.responds(self.config.request_timeout_s)


class RoleServers:
    """`config.replicas` servers of one role. Every method may raise UserError, one line that names the server."""

    def __init__(
        self,
        role: str,
        start: Callable[[int, int], ServerHandle],
        config: SglangConfig,
        sender: WeightSender,
        saves_memory: bool,
        observer: Observer | None = None,
    ) -> None:
        """Start all servers. Returns at once.

        `start` takes the number of a server and how many times one of that number has been started, counted from 1.
        `saves_memory` says whether the servers can give their memory back. What they do is told an `observer`.
        """
        self.role, self._start = role, start
        self.observer = observer or Nobody()
        self.config, self.sender, self.saves_memory = config, sender, saves_memory
        # Servers that were replaced: threads may still wait for their answers.
        self._retired: list[Replica] = []
        # Starts by number that an earlier engine needed: its trouble is over.
        self._starts_before: Counter[int] = Counter()
        self._replicas = [self._new(number, 1) for number in range(config.replicas)]

    def all(self) -> list[Replica]:
        """All servers, whatever they can be used for."""
        return list(self._replicas)

    def waiting(self) -> list[Replica]:
        """Servers that wait for weights."""
        return self._in(ReplicaState.WAITING)

    def serving(self) -> list[Replica]:
        """Servers that generate."""
        return self._in(ReplicaState.SERVING)

    def serve_first_weights(self, engine: int | None = None) -> None:
        """Wait until all servers are ready; they serve the weights of the folder that they were started on.

        These are the first ones of the engine of that number, if there is one.
        """
        self._await_all(ReplicaState.SERVING)
        for replica in self._replicas:
            replica.base = engine

    def want_weights(self) -> None:
        """Servers that serve wait for other weights from now on."""
        for replica in self.serving():
            replica.state = ReplicaState.WAITING

    def next_engine(self) -> None:
        """Another engine speaks from now on: servers wait for its weights, and each may be replaced as often as ever.

        Servers outlive phases, and one that died in each of them is not one that can't be started.
        """
        self.want_weights()
        self._starts_before = Counter({replica.number: replica.starts - 1 for replica in self._replicas})

    def lives_when_started(self, replica: Replica) -> bool:
        """Wait until a server that starts is ready; whether it lives. UserError if it does not get ready in time."""
        if replica.state is ReplicaState.STARTING:
            try:
                self._await(replica)
            except UserError:
                if replica.server.alive():
                    raise
        return replica.server.alive()

    def admit(self) -> bool:
        """Take in what has become ready, replace what has died; whether a server now waits for weights.

        Waits for servers that start only if there is none that serves. To be called while nothing is being drawn.
        """
        while self._retired:
            self._retired.pop().hang_up()
        for replica in list(self._replicas):
            if replica.state is ReplicaState.STARTING and replica.server.ready():
                replica.state = ReplicaState.WAITING
            elif not replica.server.alive():
                self.replace(replica)
        if not self._in(ReplicaState.SERVING, ReplicaState.WAITING):
            self._await_all(ReplicaState.WAITING)
        return bool(self.waiting())

    def replace(self, replica: Replica) -> None:
        """End a server that is dead or does not answer, and start another in its place."""
        if replica.server.alive():
            _log.warning("%s does not answer and is ended; starting another", replica.name)
        else:
            _log.warning("%s ended (%s); starting another", replica.name, replica.server.reason())
        starts = replica.starts - self._starts_before[replica.number]
        if starts >= self.config.attempts:
            raise UserError(f"{replica.name} ended {starts} times (rollout.sglang.attempts); see {replica.server.log}")
        self._retired.append(replica)
        replica.server.stop()
        self._replicas[self._replicas.index(replica)] = self._new(replica.number, replica.starts + 1)

    def replace_killed_by_update(self, error: UserError, attempt: int) -> None:
        """Replace the servers that an update has killed.

        Raises `error`, with which it ended, if it is not the death of a server or that comes too often.
        """
        dead = [replica for replica in self.waiting() if not replica.answers()]
        if not isinstance(error, ServerError) or not dead or attempt >= self.config.attempts:
            raise error
        _log.warning("%s", error)  # names the call that was not answered
        for replica in dead:
            self.replace(replica)

    def close(self) -> None:
        """End all servers and what weights reach them by."""
        self.sender.close()
        for replica in (*self._retired, *self._replicas):
            replica.hang_up()
        with ThreadPoolExecutor(len(self._replicas)) as threads:
            ends = [threads.submit(replica.server.stop) for replica in self._replicas]
        for end in ends:
            end.result()

    def _new(self, number: int, attempt: int) -> Replica:
        title = f"{self.role} replica {number}"
        return Replica(title, number, self._start(number, attempt), self.config, attempt)

    def _await_all(self, state: ReplicaState) -> None:
        """Wait until all servers are ready, and have them do what `state` says."""
        with self.observer.measure(Activity.START_SERVERS):
            for replica in self._replicas:
                self._await(replica)
                replica.state = state

    def _await(self, replica: Replica) -> None:
        replica.server.wait_ready(self.config.start_timeout_s)

    def _in(self, *states: ReplicaState) -> list[Replica]:
        return [replica for replica in self._replicas if replica.state in states]
