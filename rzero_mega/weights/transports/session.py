"""The protocol around an update of all servers, released on every path."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.transports.parallel import on_every
from rzero_mega.weights.transports.protocol import Server, ServerError, Transport
from rzero_mega.weights.verification.versions import unfinished

# A server that does not answer must not keep the error of the update from the user.
RELEASE_TIMEOUT_S = 20.0


@dataclass
class UpdateReport:
    """What an update moved, and the seconds of each of its stages, in order."""

    version: str
    nbytes: int = 0
    buckets: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, buckets: Iterable[Bucket]) -> Iterator[Bucket]:
        """The buckets as they are, counted."""
        for bucket in buckets:
            self.nbytes += bucket.slots[-1].stop
            self.buckets += 1
            yield bucket

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - start


def update_servers(
    servers: Sequence[Server],
    transport: Transport,
    buckets: Iterable[Bucket],
    version: str,
    check: Callable[[Server], object] | None = None,
) -> UpdateReport:
    """Bring the weights in `buckets` to all servers, which then carry `version`.

    Requests that run meanwhile wait, and go on with the new weights. From before the first byte until all is well, a
    server carries the version `updating-VERSION`: neither a sample nor a server of an update that failed can be taken
    for a good one. `check` is called with each server, in threads, before it gets the new version. Whatever fails, all
    servers are released; the error of the first server that failed is raised, and a later update repairs the servers.
    """
    report = UpdateReport(version)
    try:
        with report.stage("pause"):
            on_every(servers, _pause)
            on_every(servers, lambda server: _set_version(server, unfinished(version)))
        with report.stage("send"):
            if transport.needs_session:
                on_every(servers, _begin)
            transport.send(servers, report.count(buckets))
            if transport.needs_session:
                on_every(servers, _end)
        if check is not None:
            with report.stage("check"):
                on_every(servers, check)
        on_every(servers, lambda server: _set_version(server, version))
    except BaseException:
        on_every(servers, _release)
        raise
    with report.stage("resume"):
        on_every(servers, _resume)
    return report


def _pause(server: Server) -> None:
    server.post("pause_generation", {"mode": "retract"})


def _resume(server: Server) -> None:
    server.post("continue_generation", {})


def _set_version(server: Server, version: str) -> None:
    server.post("update_weight_version", {"new_version": version, "abort_all_requests": False})


def _begin(server: Server) -> None:
    try:
        server.post("begin_weight_update", {"selector": "all"})
    except ServerError:
        # A learner that was killed during an update leaves its session open.
        with suppress(ServerError):
            _end(server)
        server.post("begin_weight_update", {"selector": "all"})


def _end(server: Server) -> None:
    server.post("end_weight_update", {})


def _release(server: Server) -> None:
    for path in ("end_weight_update", "continue_generation"):
        with suppress(ServerError):
            server.post(path, {}, RELEASE_TIMEOUT_S)
