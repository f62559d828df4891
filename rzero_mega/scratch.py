"""Temporary folders that the next start clears away if the process that made them was killed.

A folder's name says which process made it, and when that process started, on which boot and among which process
numbers: it is removed only where that very process is provably gone. Files elsewhere (shared memory of servers) that
go with a folder are noted in it, and removed with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from rzero_mega.atomic import write_json

_NAME = re.compile(r"rzero-mega-(?P<tag>[0-9a-f]{12})-(?P<process>\d+)-(?P<started>\d+)-.*")
_NOTES = "elsewhere.json"


def make_folder(what: str) -> Path:
    """A new folder, for its maker alone to read, in the directory of temporary files. Clears away those of the dead."""
    sweep()
    process = os.getpid()
    return Path(tempfile.mkdtemp(prefix=f"rzero-mega-{_tag()}-{process}-{_started(process) or 0}-{what}-"))


@contextmanager
def temporary_folder(what: str) -> Iterator[Path]:
    """A folder as `make_folder` makes one, removed in the end."""
    folder = make_folder(what)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def note_elsewhere(folder: Path, files: Iterable[Path], processes: Iterable[int]) -> None:
    """Have the files removed with the folder if this process is killed, once these processes are gone as well."""
    found: dict[str, list[int]] = {}
    for file in files:
        with suppress(OSError):
            status = file.stat()
            found[str(file)] = [status.st_dev, status.st_ino]
    users = {str(process): started for process in processes if (started := _started(process)) is not None}
    with suppress(OSError):
        write_json(folder / _NOTES, {"files": found, "processes": users})


def sweep() -> None:
    """Remove the folders of this user's dead processes, and what is noted in them. Linux alone can say who is dead."""
    root = Path(tempfile.gettempdir())
    for name in os.listdir(root):
        match = _NAME.fullmatch(name)
        if match is None or match["tag"] != _tag() or _lives(int(match["process"]), int(match["started"])):
            continue
        folder = root / name
        with suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if _remove_noted(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _remove_noted(folder: Path) -> bool:
    """Remove the files that go with a folder; False while a process that uses them lives."""
    try:
        notes = json.loads((folder / _NOTES).read_bytes())
        files: Mapping[str, list[int]] = dict(notes["files"])
        users = {int(process): int(started) for process, started in notes["processes"].items()}
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return True  # nobody can say what went with it
    if any(_lives(process, started) for process, started in users.items()):
        return False
    for name, identity in files.items():
        with suppress(OSError):
            status = os.lstat(name)
            # The same file and not a later one of that name.
            if [status.st_dev, status.st_ino] == identity and status.st_uid == os.getuid():
                os.unlink(name)
    return True


def _lives(process: int, started: int) -> bool:
    """Whether this process, and not a later one of its number, lives; True where nobody can say."""
    return started == 0 or _started(process) == started


def _started(process: int) -> int | None:
    """When a process started, in the kernel's ticks since the machine did; None if it is gone, or not to be known."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _tag() -> str:
    """Of this boot of this machine, and of these process numbers: other containers have others."""
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
