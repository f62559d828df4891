"""The program of one worker process.

Usage: ``python -m rzero_mega.grading.workers.worker FD MEMORY_BYTES MODULE:FUNCTION``.

Reads pairs as JSON from the socket FD and answers each with a `Reply`. The process bounds its own memory after its
imports, is the kernel's first choice when memory runs out, and ends with its parent (by signal on Linux, else at end of
file).
"""

from __future__ import annotations

import importlib
import json
import resource
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from rzero_mega.grading.workers.processes import Reply
from rzero_mega.lifetime import die_with_parent


def main(arguments: list[str]) -> None:
    """Serve pairs until the parent closes the socket."""
    die_with_parent()
    file_descriptor, memory_bytes = map(int, arguments[:2])
    module, _, function = arguments[2].partition(":")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _volunteer_for_out_of_memory_killer()
    task = getattr(importlib.import_module(module), function)
    _limit_memory(memory_bytes)
    connection = Connection(file_descriptor)
    connection.send_bytes(Reply.READY.value)
    _serve(connection, task)


def _serve(connection: Connection, task: Callable[[str, str], bool]) -> None:
    while True:
        try:
            a, b = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            reply = Reply.EQUAL if task(a, b) else Reply.DIFFERENT
        except MemoryError:
            connection.send_bytes(Reply.OUT_OF_MEMORY.value)
            return  # what is left of this heap is not to be trusted
        except Exception:  # one bad pair must not end the batch; the parent counts it
            reply = Reply.ERROR
        connection.send_bytes(reply.value)


def _volunteer_for_out_of_memory_killer() -> None:
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return  # not Linux, or not permitted: a preference only


def _limit_memory(extra_bytes: int) -> None:
    """Allow `extra_bytes` of address space on top of what the imports have taken."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return  # no /proc, no measure of what is needed: the time limit alone must do
    limit = pages * resource.getpagesize() + extra_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1:])
