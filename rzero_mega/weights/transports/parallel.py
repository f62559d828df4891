"""The same call on every server at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rzero_mega.weights.transports.protocol import Server

T = TypeVar("T")


def on_every(servers: Sequence[Server], call: Callable[[Server], T]) -> list[T]:
    """Results of `call(server)` in the order of the servers.

    All calls are over when this returns. If some failed, the first error in the order of the servers is raised.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(servers))) as pool:
        futures = [pool.submit(call, server) for server in servers]
    return [future.result() for future in futures]
