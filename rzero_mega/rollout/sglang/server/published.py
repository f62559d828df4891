"""A server of this machine whose address and state stand in a file."""

from __future__ import annotations

import socket
from pathlib import Path

from rzero_mega.rollout.sglang.nodes.address import Address, State, public_url
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.process import ServerProcess


class PublishedServer:
    """A `ServerHandle` of a `ServerProcess`; made by `start`, from the main thread. Its clients are on this machine."""

    def __init__(self, process: ServerProcess, address: Path) -> None:
        """For `start`. `address` is the file."""
        self.process, self._file = process, address
        self._state: State | None = None

    @classmethod
    def start(cls, spec: ServerSpec, log: Path, address: Path, api_key: str | None) -> PublishedServer:
        """Start the server and return at once; see `ServerProcess.start`. Its state goes to the file `address`."""
        server = cls(ServerProcess.start(spec, log, api_key), address)
        try:
            server._publish("starting")
        except BaseException:
            server.process.stop(grace_s=0.0)
            raise
        return server

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.process.log

    @property
    def where(self) -> str:
        """Base address."""
        return self.process.url

    @property
    def state(self) -> State | None:
        """What was published last."""
        return self._state

    def client(self, name: str, timeout_s: float) -> SglangClient:
        """A client of the server."""
        return self.process.client(name, timeout_s)

    def alive(self) -> bool:
        """Whether its main process runs."""
        return self.process.alive()

    def ready(self) -> bool:
        """Whether it takes requests now."""
        ready = self.process.ready()
        if ready:
            self._publish("ready")
        return ready

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the server takes requests. UserError if it ends first, or does not get there in time."""
        self.process.wait_ready(timeout_s)
        self._publish("ready")

    def reason(self) -> str:
        """The line of its log that says best why it ended."""
        return self.process.reason()

    def stop(self) -> None:
        """End the server at once. Can be called again."""
        if self._state == "ended":
            return
        reason = "was told to end" if self.alive() else self.reason()
        self.process.stop(grace_s=0.0)
        self._publish("ended", reason)

    def _publish(self, state: State, reason: str | None = None) -> None:
        if state != self._state:
            pid = None if state == "ended" else self.process.pid
            Address(state, socket.gethostname(), public_url(self.process.spec), pid, reason).publish(self._file)
            self._state = state
