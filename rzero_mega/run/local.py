"""Ending the process of this machine that writes a run."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.run.directory import RunDirectory
from rzero_mega.run.lock import holder, signature

# A rank has graders, servers and W&B to close.
TIMEOUT_S = 120.0
POLL_S = 0.1


def stop_writer(run: RunDirectory, timeout_s: float = TIMEOUT_S) -> bool:
    """Interrupt the process that writes the run, and wait for its end; False where none does.

    UserError if it runs on another machine, or does not end in time.
    """
    if not run.is_alive():
        return False
    lock = run.path / ".lock"
    pid = _writer_here(lock)
    if pid is None:
        raise UserError(f"{run.path}: is written by {holder(lock)}, not by a process of this machine; end it there")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while run.is_alive():
        if time.monotonic() > deadline:
            raise UserError(f"{run.path}: process {pid} has not ended after {timeout_s:.0f} s; kill -9 {pid} ends it")
        time.sleep(POLL_S)
    return True


def _writer_here(lock: Path) -> int | None:
    """The process that signed the lock, if it has the file open: a number in a file may name any process."""
    signed = signature(lock)
    if signed is None or signed.host != socket.gethostname() or signed.pid < 2:
        return None
    try:
        return signed.pid if any(_is(entry, lock) for entry in Path(f"/proc/{signed.pid}/fd").iterdir()) else None
    except OSError:
        return None


def _is(entry: Path, file: Path) -> bool:
    try:
        return entry.samefile(file)
    except OSError:
        return False
