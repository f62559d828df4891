"""How the servers of one role are started: each on its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rzero_mega.config.placement import ServerPlace
from rzero_mega.rollout.sglang.nodes.job_files import JobServers, ServerFiles, node_folder
from rzero_mega.rollout.sglang.nodes.remote import RemoteServer
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.handle import ServerHandle
from rzero_mega.rollout.sglang.server.published import PublishedServer


@dataclass(frozen=True)
class Launcher:
    """Starts servers of `role` on `spec`, whose port is 0: each takes a free one. Server r runs on `places[r]`.

    Every server's address is published: in the job's folder, or beside the `logs` where there is no job.
    """

    role: str
    spec: ServerSpec
    places: Sequence[ServerPlace]
    logs: Path
    job: JobServers | None
    api_key: str | None

    def start(self, number: int, attempt: int) -> ServerHandle:
        """Start server `number` for the `attempt`-th time, and return at once."""
        place = self.places[number]
        spec = replace(self.spec, first_gpu=place.first_gpu)
        folder = self.logs if self.job is None else node_folder(self.job.folder, place.node)
        files = ServerFiles(folder, f"{self.role}-{number}-a{attempt}")
        if self.job is not None and place.node != self.job.node:
            return RemoteServer.start(spec, files, place.node, self.api_key)
        return PublishedServer.start(spec, self.logs / f"{self.role}-{number}.log", files.address, self.api_key)
