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
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.atomic import storage_errors
from rzero_mega.errors import UserError
from rzero_mega.run.events import now

# A reader that asks whether a run is alive holds the lock for a moment; a writer waits that out.
_ATTEMPTS, _PAUSE_S = 5, 0.05
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)
# NFS locks only what is open for writing.
_NO_FOLDER_LOCKS = (*_NO_LOCKS, errno.EBADF, errno.EINVAL, errno.EISDIR)


class RunLock:
    """An exclusive lock on a run's folder, held from construction until `release` or the end of the process.

    Both the folder and a file in it are locked: the file says who holds the lock, and can be removed; the folder can't
    be locked on every file system.
    """

    def __init__(self, path: Path) -> None:
        """Lock the folder of `path`, and that file. UserError names process and host of the holder if there is one."""
        self._path = path
        self._folder: int | None = None
        self._file: int | None = None
        try:
            with storage_errors(path):
                self._folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
                # The folder first: whoever is refused has not touched the file.
                self._wait_for(self._folder, _NO_FOLDER_LOCKS)
                self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
                if not self._wait_for(self._file, _NO_LOCKS):
                    logging.getLogger(__name__).warning(
                        "%s: this file system has no locks; make sure that only one process runs here", path
                    )
                self._sign()
        except BaseException:
            self.release()
            raise
        # A forked child shares the lock and would keep it past this process's death.
        reference = weakref.WeakMethod(self.release)
        os.register_at_fork(after_in_child=lambda: (method := reference()) and method())

    def release(self) -> None:
        """Let go of the lock; a second call does nothing."""
        for descriptor in (self._file, self._folder):
            if descriptor is not None:
                os.close(descriptor)
        self._file = self._folder = None

    def check(self) -> None:
        """To be called before the run is changed: UserError if its folder or its lock is no longer this process's.

        A file that was only removed is made again.
        """
        if self._file is None or self._folder is None:
            raise RuntimeError(f"{self._path}: the lock was released")
        if not _names(self._path.parent, self._folder):
            raise UserError(f"{self._path.parent}: was removed or replaced while the run was at work; it stops here")
        if _names(self._path, self._file):
            return
        with storage_errors(self._path):
            found = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(found)
            by = holder(self._path)
            raise UserError(f"{self._path}: was removed, and {by} has taken the run over; this process stops") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(found)
                raise
        os.close(self._file)
        self._file = found
        with storage_errors(self._path):
            self._sign()

    def _wait_for(self, descriptor: int, no_locks: Collection[int]) -> bool:
        """Lock it, waiting out a reader; False where that is not to be had. UserError if another process has it."""
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if attempt + 1 < _ATTEMPTS:
                    time.sleep(_PAUSE_S)
            except OSError as error:
                if error.errno not in no_locks:
                    raise
                return False
        raise UserError(in_use(self._path))

    def _sign(self) -> None:
        assert self._file is not None
        text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": now()})
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, text.encode(), 0)


def in_use(path: Path) -> str:
    """The error of whoever finds the lock taken."""
    return f"{path.parent}: in use by {holder(path)}; wait for it, stop it, or choose another run.name"


@dataclass(frozen=True)
class Signature:
    """Who holds a lock, by his own word: a process, its machine, and since when."""

    pid: int
    host: str
    since: str


def signature(path: Path) -> Signature | None:
    """Who signed the lock file last; None if nobody did who can be made out."""
    try:
        signed = json.loads(path.read_bytes())
        return Signature(int(signed["pid"]), str(signed["host"]), str(signed["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def holder(path: Path) -> str:
    """The same in words."""
    signed = signature(path)
    return f"process {signed.pid} on {signed.host} since {signed.since}" if signed else "another process"


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock; False too where the file system has no locks."""
    return _is_held(path.parent, _NO_FOLDER_LOCKS) or _is_held(path, _NO_LOCKS)


def _is_held(path: Path, no_locks: Collection[int]) -> bool:
    if not path.exists():
        return False
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno not in no_locks:
                raise
            return False
        finally:
            os.close(descriptor)


def _names(path: Path, descriptor: int) -> bool:
    """Whether the path still names what was opened."""
    try:
        found, opened = path.stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino)
