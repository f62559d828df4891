"""Folders and files in which no other user of the machine may have a hand, whatever the umask, and whatever lies there.

Jobs trust what they find in their folder: where the ranks meet, and the key of the servers.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from rzero_mega.errors import UserError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def own_folder(path: Path) -> None:
    """Make the folder, or take the one that is there, so that its owner alone may write into it.

    Its parent exists. UserError if it is a link, no folder, or belongs to somebody else than its parent does.
    """
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != path.parent.stat().st_uid:
            raise UserError(f"{path}: is no folder of this run's owner; remove it") from None
        if found.st_mode & _OTHERS_WRITE:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS_WRITE)


def append_to(path: Path) -> BinaryIO:
    """The file, open to append to, made where it does not exist; UserError if it is a link or no file."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if path.is_symlink() or path.is_dir():
            raise UserError(f"{path}: is a link or a folder, and a file is written there; remove it") from None
        raise error from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path}: is no regular file, and one is written there; remove it")
    return os.fdopen(descriptor, "ab")


def write_secret(path: Path, text: str) -> None:
    """A new file that its owner alone may read. What was there is removed, never written to."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def read_secret(path: Path) -> str:
    """What `write_secret` wrote. UserError for a link, no regular file, and what others may read or write."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; start the job again") from None
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & _OTHERS:
            raise UserError(f"{path}: others may read or write it; remove it and start the job again")
        return file.read(1024).decode("utf-8", "replace")
