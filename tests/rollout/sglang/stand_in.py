"""A server that records what it is asked to do: for what must happen in an order, and for faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.turns import EVERYTHING
from rzero_mega.rollout.sglang.pool.weight_sender import WeightSender
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.transports.protocol import Server, ServerError


class StandInClient(SglangClient):
    """Writes (server, path, body) into `calls`; fails at the paths in `failing`."""

    def __init__(self, name: str, calls: list[tuple[str, str, dict[str, Any]]], failing: set[str]) -> None:
        super().__init__(name, f"http://{name}")
        self._calls, self._failing = calls, failing

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        self._calls.append((self._name, path, dict(body)))
        if path in self._failing:
            raise ServerError(f"{self._name}: {path}: refused")
        return {}


class StandInServer:
    """A `ServerHandle`. It starts when told to (`starts`), and lives until it is stopped or `dead` is set."""

    log = Path("server.log")

    def __init__(self, name: str, calls: list[tuple[str, str, dict[str, Any]]], starts: bool = True) -> None:
        self.name, self.calls, self.starts = name, calls, starts
        self.failing: set[str] = set()
        self.dead = self.stopped = False

    @property
    def where(self) -> str:
        return f"http://{self.name}"

    def client(self, name: str, timeout_s: float) -> SglangClient:
        return StandInClient(self.name, self.calls, self.failing)

    def alive(self) -> bool:
        return not (self.dead or self.stopped)

    def ready(self) -> bool:
        return self.alive() and self.starts

    def wait_ready(self, timeout_s: float) -> None:
        self.calls.append((self.name, "(ready)", {}))
        if not self.ready():
            raise UserError(f"{self.name} did not start")

    def reason(self) -> str:
        return "for no reason"

    def stop(self) -> None:
        self.stopped = True


class NoTransport:
    """For servers that get no weights."""

    needs_session = False

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        raise AssertionError("weights were sent")

    def close(self) -> None:
        pass


NO_WEIGHTS = WeightSender(NoTransport(), None, torch.float32, tp=1, checksums_every=0)


def roles_awake(roles: Mapping[str, RoleServers]) -> set[str]:
    """Roles with a server that holds anything of its memory."""
    return {role for role, servers in roles.items() if any(r.released != EVERYTHING for r in servers.all())}
