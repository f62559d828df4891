"""What tests ask of this machine about servers."""

from __future__ import annotations

import socket
from contextlib import suppress

import psutil

from rzero_mega.rollout.sglang.server.process import ServerProcess


def memory_bytes(server: ServerProcess) -> int:
    """Memory that is the server's alone (unique set size), summed over its processes."""
    total = 0
    for pid in server.pids():
        with suppress(psutil.Error):
            total += psutil.Process(pid).memory_full_info().uss
    return total


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
