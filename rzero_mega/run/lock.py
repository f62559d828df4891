"""One writer per run directory: an advisory lock that the kernel drops when its holder dies."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
import weakref
from pathlib import Path

from rzero_mega.atomic import storage_errors
from rzero_mega.errors import UserError
from rzero_mega.run.events import now

# A reader that asks whether a run is alive holds the lock for a moment; a writer waits that out.
_ATTEMPTS, _PAUSE_S = 5, 0.05
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)


class RunLock:
    """An exclusive lock on a file, held from construction until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises UserError naming process and host of the holder when somebody has it."""
        with storage_errors(path):
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(path)
            with storage_errors(path):
                self._sign()
        except BaseException:
            self.release()
            raise
        # A forked child shares the lock and would keep it past this process's death.
        reference = weakref.WeakMethod(self.release)
        os.register_at_fork(after_in_child=lambda: (method := reference()) and method())

    def release(self) -> None:
        """Let go of the lock; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _take(self, path: Path) -> None:
        assert self._descriptor is not None
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if attempt + 1 < _ATTEMPTS:
                    time.sleep(_PAUSE_S)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                logging.getLogger(__name__).warning(
                    "%s: this file system has no locks; make sure that only one process runs here", path
                )
                return
        raise UserError(f"{path.parent}: in use by {holder(path)}; wait for it, stop it, or choose another run.name")

    def _sign(self) -> None:
        assert self._descriptor is not None
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()})
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)


def holder(path: Path) -> str:
    """Who signed the lock file last, in words."""
    try:
        signed = json.loads(path.read_bytes())
        return f"process {int(signed['pid'])} on {signed['host']} since {signed['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock; False too where the file system has no locks."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno not in _NO_LOCKS
    finally:
        os.close(descriptor)
