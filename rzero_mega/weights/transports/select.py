"""A transport that was chosen, built."""

from __future__ import annotations

from pathlib import Path

from rzero_mega.config.schema import SglangConfig
from rzero_mega.weights.transports.choice import Choice, SyncFacts, backend_of
from rzero_mega.weights.transports.collective import CollectiveTransport
from rzero_mega.weights.transports.disk import DiskTransport
from rzero_mega.weights.transports.protocol import Transport
from rzero_mega.weights.transports.relay import Relay
from rzero_mega.weights.transports.tensor import TensorTransport


def build_transport(
    choice: Choice,
    facts: SyncFacts,
    folder: Path,
    sglang: SglangConfig,
    master: str = "127.0.0.1",
    relay: Relay | None = None,
) -> Transport:
    """The chosen transport. `folder` is where files go; `master` the learner's address as the servers know it.

    `relay` is there where ranks of several nodes hand weights out.

    A bucket may take as long as `sglang` lets a server hang, a whole model as long as a start.
    """
    if choice.name == "disk":
        return DiskTransport(folder, sglang.start_timeout_s)
    if choice.name == "collective":
        return CollectiveTransport(backend_of(facts.learner_device), master, sglang.hang_timeout_s)
    return TensorTransport(facts.handles, sglang.hang_timeout_s, relay)
