"""The files in /dev/shm that a server makes: killed servers leave them, and they hold memory until they are removed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
# Python's semaphores and shared memory, and SGLang's. A server may also open files of others: NCCL's, the learner's.
SERVERS_OWN = ("sem.mp-", "psm_", "sglang_", "sgl_shm_", "multi_tokenizer_args_")

# Device and number of a file. Names don't do: a semaphore is mapped under another name than the one it then gets.
FileId = tuple[int, int]


def shared_files(pid: int) -> set[Path]:
    """Files in /dev/shm that a server's process made or shares with others of its server; none if it is gone."""
    used = {*_mapped(pid), *_open(pid)}
    found = set()
    for path in SHARED_MEMORY.iterdir():
        with suppress(OSError):
            status = path.stat()
            if path.name.startswith((*SERVERS_OWN, f"torch_{pid}_")) and (status.st_dev, status.st_ino) in used:
                found.add(path)
    return found


def _mapped(pid: int) -> Iterator[FileId]:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines():
            _, _, _, device, inode, *_ = line.split(maxsplit=5)
            major, minor = (int(part, 16) for part in device.split(":"))
            yield os.makedev(major, minor), int(inode)


def _open(pid: int) -> Iterator[FileId]:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                status = descriptor.stat()
                yield status.st_dev, status.st_ino
