"""Whose servers hold GPU memory: those of one role at a time, and of none while a colocated learner trains.

A server gives back its KV cache, its weights (of which it keeps a copy in host memory) and its CUDA graphs, and takes
them again with the same content but for the cache, which is empty. This is SGLang's memory saver, which exists on CUDA
alone: elsewhere servers keep what they have, and only the account of it is kept here.

An update needs nothing but the weights, so a learner that has not given up its memory yet meets no KV cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool.replicas import Replica, Replicas
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.weights.transports.protocol import ServerError

_log = logging.getLogger(__name__)

# SGLang's names for what a server can give back.
WEIGHTS = frozenset({"weights"})
EVERYTHING = WEIGHTS | {"kv_cache", "cuda_graph"}
# A request whose client gave up is ended by the server when it notices; to release before that would kill the server.
IDLE_TIMEOUT_S = 60.0


class Turns:
    """The servers of all roles and what each has given back. For the process that speaks with the servers."""

    def __init__(self, saver: bool) -> None:
        """`saver` says whether servers can give memory back."""
        self._saver = saver
        self._roles: dict[str, Replicas] = {}

    def join(self, role: str, replicas: Replicas) -> None:
        """Take in a role's servers, which hold everything, since they have just been started."""
        self._roles[role] = replicas

    def take(self, role: str, needed: frozenset[str] = EVERYTHING) -> None:
        """Have the servers of the other roles give everything back, then those of this one take what is `needed`.

        To be called while no request runs. A role whose servers are not there yet gets room for them.
        """
        self._give_back([name for name in self._roles if name != role])
        if role in self._roles:
            asleep = [replica for replica in self._roles[role].all() if replica.released & needed]
            self._on_every([(replica, partial(self._wake, replica, needed)) for replica in asleep])

    def rest(self) -> None:
        """Have all servers give everything back. To be called while no request runs."""
        self._give_back(list(self._roles))

    def awake(self) -> set[str]:
        """Roles with a server that holds anything."""
        return {role for role, replicas in self._roles.items() if any(r.released != EVERYTHING for r in replicas.all())}

    def _give_back(self, roles: list[str]) -> None:
        calls: list[tuple[Replica, Callable[[], None]]] = []
        for replicas in (self._roles[role] for role in roles):
            awake = [replica for replica in replicas.all() if replica.released != EVERYTHING]
            calls += [(replica, partial(self._release, replicas, replica)) for replica in awake]
        self._on_every(calls)

    def _release(self, replicas: Replicas, replica: Replica) -> None:
        tags = EVERYTHING - replica.released
        # A server that still starts would take its memory later, when it is others' turn.
        if self._saver and replicas.settle(replica):
            wait_until_idle(replica.client)
            replica.client.post("release_memory_occupation", {"tags": sorted(tags)})
        replica.released |= tags

    def _wake(self, replica: Replica, needed: frozenset[str]) -> None:
        tags = replica.released & needed
        if self._saver and replica.process.alive():
            # A tag that the server has not released would kill it.
            replica.client.post("resume_memory_occupation", {"tags": sorted(tags)})
        replica.released -= tags

    def _on_every(self, calls: list[tuple[Replica, Callable[[], None]]]) -> None:
        """All calls at once. A server whose call fails is ended: that frees its memory; its role will replace it."""
        with ThreadPoolExecutor(max(1, len(calls))) as pool:
            under_way = [(replica, pool.submit(call)) for replica, call in calls]
        for replica, done in under_way:
            error = done.exception()
            if isinstance(error, UserError):
                _log.warning("%s; the server is ended", error)
                replica.process.stop()
            elif error is not None:
                raise error


def wait_until_idle(client: SglangClient) -> None:
    """Return when the server has nothing to do; ServerError if that takes longer than IDLE_TIMEOUT_S."""
    try:
        client.post(f"flush_cache?timeout={IDLE_TIMEOUT_S:g}", {}, IDLE_TIMEOUT_S + 10)
    except ServerError as error:
        raise ServerError(f"{error} (it has requests and can't give memory back)") from None
