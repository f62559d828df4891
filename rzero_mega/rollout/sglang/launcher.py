"""How the servers of one role are started: each on its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rzero_mega.config.placement import ServerPlace
from rzero_mega.rollout.sglang.command import ServerSpec
from rzero_mega.rollout.sglang.handle import ServerHandle
from rzero_mega.rollout.sglang.process import ServerProcess


@dataclass(frozen=True)
class Launcher:
    """Starts servers of `role` on `spec`, whose port is 0: each takes a free one. Server r runs on `places[r]`."""

    role: str
    spec: ServerSpec
    places: Sequence[ServerPlace]
    logs: Path
    api_key: str | None

    def start(self, number: int, attempt: int) -> ServerHandle:
        """Start server `number` for the `attempt`-th time, and return at once."""
        spec = replace(self.spec, first_gpu=self.places[number].first_gpu)
        return ServerProcess.start(spec, self.logs / f"{self.role}-{number}.log", self.api_key)
