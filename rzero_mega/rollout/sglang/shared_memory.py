"""The files in /dev/shm that a server makes: killed servers leave them, and they hold memory until they are removed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
# Python's semaphores and shared memory, and SGLang's. A server may also open files of others: NCCL's, the learner's.
SERVERS_OWN = ("sem.mp-", "psm_", "sglang_", "sgl_shm_", "multi_tokenizer_args_")


def shared_files(pid: int) -> set[Path]:
    """Files in /dev/shm that a server's process made or uses with others of its server; none if it is gone."""
    names: set[str] = set()
    with suppress(OSError):
        # The last of six columns is the file; it may contain spaces.
        names |= {line.split(maxsplit=5)[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()}
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                names.add(os.readlink(descriptor))
    prefixes = (*SERVERS_OWN, f"torch_{pid}_")
    return {path for path in map(Path, names) if path.parent == SHARED_MEMORY and path.name.startswith(prefixes)}
