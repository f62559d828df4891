"""A server on another node of the job, asked for and watched through files; see `job_files`."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from rzero_mega.atomic import storage_errors, write_json
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.nodes.job_files import ServerFiles, request_of
from rzero_mega.rollout.sglang.server.address import Address, read_address
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.process import READY_S

POLL_S = 0.25
# Long enough for a file to be seen through the caches of a network file system.
END_S = 90.0


class RemoteServer:
    """A `ServerHandle` whose processes belong to the `ServerHost` of another node. Made by `start`."""

    def __init__(self, spec: ServerSpec, files: ServerFiles, node: int, api_key: str | None) -> None:
        """For `start`."""
        self.spec, self._files, self._node, self._api_key = spec, files, node, api_key
        self._last: Address | None = None
        self._unreadable: str | None = None
        self._withdrawn = False

    @classmethod
    def start(cls, spec: ServerSpec, files: ServerFiles, node: int, api_key: str | None = None) -> RemoteServer:
        """Ask `node` for a server and return at once. UserError if one of that name was asked for before."""
        if files.request.exists():
            raise UserError(f"{files.request}: is there already; each start of a job needs a new folder")
        with storage_errors(files.folder):
            files.folder.mkdir(parents=True, exist_ok=True)
        write_json(files.request, request_of(spec))
        return cls(spec, files, node, api_key)

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self._files.log

    @property
    def where(self) -> str:
        """Its address, or its node as long as that is not known."""
        return self._last.url if self._last is not None and self._last.url else f"node {self._node}"

    def client(self, name: str, timeout_s: float) -> SglangClient:
        """A client of the server; UserError if it has published no address, or one that means its own machine alone."""
        seen = self._look()
        if seen is None or seen.url is None:
            raise UserError(f"{name} (node {self._node}) has no address; see {self._files.address}")
        if self.spec.on_loopback and seen.host != socket.gethostname():
            raise UserError(
                f"rollout.sglang.host {self.spec.host}: {name} runs on {seen.host} and can't be reached from "
                f"{socket.gethostname()}; set it to 0.0.0.0"
            )
        return SglangClient(name, seen.url, self.spec.tp, self._api_key, timeout_s, self._node)

    def alive(self) -> bool:
        """Whether it was not withdrawn and its node has not said that it ended."""
        seen = self._look()
        return not self._withdrawn and (seen is None or seen.state != "ended")

    def ready(self) -> bool:
        """Whether its node says so, and it takes requests from here."""
        seen = self._look()
        if self._withdrawn or seen is None or seen.state != "ready":
            return False
        client = self.client(self._files.name, READY_S)
        try:
            return client.ready(READY_S)
        finally:
            client.close()

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the server takes requests. UserError if it ends first, or does not get there in time."""
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            if not self.alive():
                raise self._failed(f"did not start: {self.reason()}")
            if time.monotonic() > deadline:
                raise self._failed(f"{self._stage()} after {timeout_s:g} s (rollout.sglang.start_timeout_s)")
            time.sleep(POLL_S)

    def reason(self) -> str:
        """What its node says of its end."""
        return (self._last and self._last.reason) or f"node {self._node} has not said why"

    def stop(self) -> None:
        """Ask its node to end it, and wait up to END_S seconds: a node that no longer answers is left alone."""
        if self._withdrawn:
            return
        if self.alive():
            write_json(self._files.stop, {})
        self._withdrawn = True
        deadline = time.monotonic() + END_S
        while (self._last is None or self._last.state != "ended") and time.monotonic() < deadline:
            time.sleep(POLL_S)
            self._look()

    def _look(self) -> Address | None:
        """What its node published last; a file that cannot be read says nothing new."""
        try:
            self._last = read_address(self._files.address) or self._last
            self._unreadable = None
        except UserError as error:
            self._unreadable = str(error)
        return self._last

    def _stage(self) -> str:
        if self._unreadable is not None:
            return f"is not known to be ready ({self._unreadable})"
        if self._last is None:
            return f"was not taken up by node {self._node}"
        if self._last.state == "ready":
            return f"cannot be reached from {socket.gethostname()}"
        return "was not ready"

    def _failed(self, how: str) -> UserError:
        return UserError(f"the SGLang server {self._files.name} at {self.where} {how} (log: {self.log})")
