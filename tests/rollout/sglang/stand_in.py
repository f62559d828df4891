"""A server that records what it is asked to do: for what must happen in an order, and for faults."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.turns import EVERYTHING
from rzero_mega.rollout.sglang.pool.weight_sender import WeightSender
from rzero_mega.rollout.sglang.server.answer_streams import AnswerStreams
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


class ScriptedServer(StandInServer):
    """Its answers to a call's body are made up by a test; a dead one does not respond."""

    def __init__(
        self,
        name: str,
        answers: Callable[[Mapping[str, Any]], AsyncIterator[dict[str, Any]]],
        responds: Callable[[], bool],
        abort_all: Callable[[], None],
        abort: Callable[[str], None] = lambda _request: None,
    ) -> None:
        super().__init__(name, [])
        self.answers, self.responds, self.abort_all, self.abort = answers, responds, abort_all, abort

    def client(self, name: str, timeout_s: float) -> SglangClient:
        return _ScriptedClient(name, self)

    def dies(self) -> ServerError:
        """What its clients get when it dies."""
        self.dead = True
        return ServerError(f"{self.name}: generate: disconnected")


class _ScriptedClient(SglangClient):
    def __init__(self, name: str, server: ScriptedServer) -> None:
        super().__init__(name, server.where)
        self._server = server

    def streams(self) -> AnswerStreams:
        return _ScriptedStreams(self._server)

    def responds(self, timeout_s: float) -> bool:
        return self._server.alive() and self._server.responds()

    def abort_all(self) -> None:
        self._server.abort_all()


class _ScriptedStreams(AnswerStreams):
    def __init__(self, server: ScriptedServer) -> None:
        self._server = server

    def answers(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        return self._server.answers(body)

    async def abort_all(self) -> None:
        self._server.abort_all()

    async def abort(self, name: str) -> None:
        self._server.abort(name)

    async def close(self) -> None:
        pass


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
