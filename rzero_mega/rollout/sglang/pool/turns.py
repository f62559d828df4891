"""Whose servers hold GPU memory: those of one role at a time, or of both, and of none while a colocated learner trains.

A server gives back its KV cache, its weights (of which it keeps a copy in host memory) and its CUDA graphs, and takes
them again with the same content but for the cache, which is empty. This is SGLang's memory saver, which exists on CUDA
alone: elsewhere servers keep what they have, and only the account of it (`Replica.released`) is kept.

An update needs nothing but the weights, so a learner that has not given up its memory yet meets no KV cache.

Nothing here may be called while a request runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool.role_servers import Replica, RoleServers
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.weights.transports.parallel import wait_awake
from rzero_mega.weights.transports.protocol import ServerError

_log = logging.getLogger(__name__)

# SGLang's names for what a server can give back.
WEIGHTS = frozenset({"weights"})
EVERYTHING = WEIGHTS | {"kv_cache", "cuda_graph"}
# A request whose client gave up is ended by the server when it notices; to release before that would kill the server.
IDLE_TIMEOUT_S = 60.0


def take_turn(
    roles: Mapping[str, RoleServers], role: str, needed: frozenset[str] = EVERYTHING, together: bool = False
) -> None:
    """Have the servers of the other roles give everything back, then those of this one take what is `needed`.

    A role whose servers are not there yet gets room for them. `together` leaves the others what they have.
    """
    if not together:
        rest(servers for name, servers in roles.items() if name != role)
    if role in roles:
        servers = roles[role]
        asleep = [replica for replica in servers.all() if replica.released & needed]
        _on_every([(replica, partial(_resume, servers, replica, needed)) for replica in asleep])


def rest(roles: Iterable[RoleServers]) -> None:
    """Have all these servers give everything back."""
    calls: list[tuple[Replica, Callable[[], None]]] = []
    for servers in roles:
        awake = [replica for replica in servers.all() if replica.released != EVERYTHING]
        calls += [(replica, partial(_release, servers, replica)) for replica in awake]
    _on_every(calls)


def _release(servers: RoleServers, replica: Replica) -> None:
    tags = EVERYTHING - replica.released
    # A server that still starts would take its memory later, when it is others' turn.
    if servers.saves_memory and servers.lives_when_started(replica):
        wait_until_idle(replica.client)
        replica.client.post("release_memory_occupation", {"tags": sorted(tags)})
    replica.released |= tags


def _resume(servers: RoleServers, replica: Replica, needed: frozenset[str]) -> None:
    tags = replica.released & needed
    if servers.saves_memory and replica.server.alive():
        # A tag that the server has not released would kill it.
        replica.client.post("resume_memory_occupation", {"tags": sorted(tags)})
    replica.released -= tags


def _on_every(calls: list[tuple[Replica, Callable[[], None]]]) -> None:
    """All calls at once. A server whose call fails is ended: that frees its memory; its role will replace it."""
    with ThreadPoolExecutor(max(1, len(calls))) as pool:
        under_way = [(replica, pool.submit(call)) for replica, call in calls]
        wait_awake([done for _, done in under_way])
    for replica, done in under_way:
        error = done.exception()
        if isinstance(error, UserError):
            _log.warning("%s; the server is ended", error)
            replica.server.stop()
        elif error is not None:
            raise error


def wait_until_idle(client: SglangClient) -> None:
    """Return when the server has nothing to do; ServerError if that takes longer than IDLE_TIMEOUT_S."""
    try:
        client.post(f"flush_cache?timeout={IDLE_TIMEOUT_S:g}", {}, IDLE_TIMEOUT_S + 10)
    except ServerError as error:
        raise ServerError(f"{error} (it has requests and can't give memory back)") from None
