"""Servers on one node of a job, started and ended as the job's first rank asks by files; see `job_files`."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from pathlib import Path

from rzero_mega.errors import UserError, first_line
from rzero_mega.rollout.sglang.nodes.job_files import NAME, REQUEST, ServerFiles, node_folder, spec_of
from rzero_mega.rollout.sglang.server.address import Address, read_address, read_published
from rzero_mega.rollout.sglang.server.process import ServerProcess

_log = logging.getLogger(__name__)


class ServerHost:
    """The servers of a node. Its owner calls `poll` a few times a second from its main thread, and `close` at the end.

    Servers die with the owner. What goes wrong with one server is published in its address file and affects no other.
    """

    def __init__(self, folder: Path, node: int, api_key: str | None, python: Path | None = None) -> None:
        """`folder` is the job's folder for servers' files. `python` is not asked for in files: it is a program."""
        self._python = python
        self._folder, self._api_key = node_folder(folder, node), api_key
        self._folder.mkdir(parents=True, exist_ok=True)
        self._servers: dict[str, ServerProcess] = {}
        self._ended: set[str] = set()
        for files in self._requests():
            with suppress(UserError):
                earlier = read_address(files.address)
                if earlier is not None and earlier.state != "ended":
                    # An owner before this one started it, and it died with that one.
                    self._refuse(files, "the process that watched over it ended")
                elif earlier is not None:
                    self._ended.add(files.name)

    def poll(self) -> None:
        """End what was withdrawn or has died, then start what is asked for: that may need the same GPUs."""
        asked = [files for files in self._requests() if files.name not in self._ended]
        for files in asked:
            if files.stop.exists():
                self._end(files)
        for name, server in list(self._servers.items()):
            if not server.alive():
                _log.warning("%s ended (%s)", name, server.reason())
                self._end(ServerFiles(self._folder, name))
            elif server.state == "starting" and server.ready():
                _log.info("%s is ready at %s", name, server.where)
        for files in asked:
            if files.name not in self._servers and files.name not in self._ended:
                self._start(files)

    def close(self) -> None:
        """End all servers. UserError, after all have been tried, if one cannot be ended."""
        errors = []
        for name in list(self._servers):
            try:
                self._end(ServerFiles(self._folder, name))
            except UserError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _requests(self) -> list[ServerFiles]:
        """The requests in the folder, by name; files with other names are ignored."""
        names = sorted(path.name.removesuffix(REQUEST) for path in self._folder.glob(f"*{REQUEST}"))
        return [ServerFiles(self._folder, name) for name in names if NAME.fullmatch(name)]

    def _start(self, files: ServerFiles) -> None:
        try:
            request = read_published(files.request)
            if request is None:
                return  # renamed into place, but not to be read from here yet
            spec = spec_of(request)
            self._servers[files.name] = ServerProcess.start(spec, files.log, self._api_key, files.address, self._python)
            _log.info("%s starts on %s", files.name, spec.model)
        except (UserError, OSError) as error:
            self._refuse(files, first_line(error))

    def _end(self, files: ServerFiles) -> None:
        server = self._servers.get(files.name)
        if server is None:
            self._refuse(files, "was withdrawn before it started")
            return
        server.stop()
        del self._servers[files.name]
        self._ended.add(files.name)

    def _refuse(self, files: ServerFiles, reason: str) -> None:
        self._ended.add(files.name)
        _log.warning("%s: %s", files.name, reason)
        Address("ended", socket.gethostname(), reason=reason).publish(files.address)
