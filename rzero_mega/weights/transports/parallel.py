"""The same call on every server at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from rzero_mega.weights.transports.protocol import Server

T = TypeVar("T")

AWAKE_S = 1.0


def on_every(servers: Sequence[Server], call: Callable[[Server], T]) -> list[T]:
    """Results of `call(server)` in the order of the servers.

    All calls are over when this returns. If some failed, the first error in the order of the servers is raised.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(servers))) as pool:
        futures = [pool.submit(call, server) for server in servers]
        wait_awake(futures)
    return [future.result() for future in futures]


def wait_awake(futures: Sequence[Future[T]]) -> None:
    """Wait for all futures, whose calls have limits of their own, without standing still (see `run.heartbeat`)."""
    while wait(futures, timeout=AWAKE_S).not_done:
        pass
