"""Where a server is and in what state: published as a file, for other nodes of the job and for people."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import psutil

from rzero_mega.atomic import parse_json, storage_errors, write_json
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.server.command import ServerSpec

ServerState = Literal["starting", "ready", "ended"]
EVERY_INTERFACE = ("0.0.0.0", "::")
# A file of the protocol is a few hundred bytes; something else under its name is not read into memory.
LARGEST_FILE = 1 << 20


@dataclass(frozen=True)
class Address:
    """A server as it was last seen by who started it, on the machine named `host`.

    `pid` is its main process; `reason` says why it ended. One that never started has neither `url` nor `pid`.
    """

    state: ServerState
    host: str
    url: str | None = None
    pid: int | None = None
    reason: str | None = None

    def publish(self, path: Path) -> None:
        """Write the address to a file, in place of what was there. UserError names a file that cannot be written."""
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(self))


def read_address(path: Path) -> Address | None:
    """The address in a file; None if it is not there or cannot be read now. UserError if it holds something else."""
    found = read_published(path)
    if found is None:
        return None
    types = {"state": str, "host": str, "url": str | None, "pid": int | None, "reason": str | None}
    fits = isinstance(found, dict) and found.keys() == types.keys()
    if not fits or not all(isinstance(found[name], kind) for name, kind in types.items()):
        raise UserError(f"{path}: not the address of a server; is the job's folder that of another version?")
    if found["state"] not in get_args(ServerState):
        raise UserError(f"{path}: state {found['state']!r} is not one of {', '.join(get_args(ServerState))}")
    return Address(**found)


def public_url(spec: ServerSpec) -> str:
    """Base address of a server on this machine for clients on other machines, if they can reach it at all."""
    if spec.host not in EVERY_INTERFACE:
        return spec.url
    ip = own_ip(socket.AF_INET6 if ":" in spec.host else socket.AF_INET)
    return f"http://[{ip}]:{spec.port}" if ":" in ip else f"http://{ip}:{spec.port}"


def own_ip(family: socket.AddressFamily = socket.AF_INET) -> str:
    """This machine's address for other machines: that of its name, or of a network card if that is a loopback one."""
    named: list[str] = []
    with suppress(OSError):
        named = [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, family)]
    cards = [card.address for cards in psutil.net_if_addrs().values() for card in cards if card.family == family]
    for ip in (*named, *cards):
        if not ip.startswith(("127.", "fe80:")) and ip != "::1":
            return ip
    return "::1" if family == socket.AF_INET6 else "127.0.0.1"


def read_published(path: Path) -> Any:
    """JSON that another process publishes; None if it is not there or cannot be read now. UserError if it is not JSON.

    A network file system may take a while to show a file, and lose sight of one that is being replaced.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE)
    except OSError:
        return None
    try:
        return parse_json(data)
    except ValueError as error:
        raise UserError(f"{path}: not readable as JSON ({error}); restore it or remove it") from None
