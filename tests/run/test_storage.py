"""A file system that refuses, at any access and in any way, is one line that names a path of the run."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rzero_mega.atomic import storage_failure
from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.run import RunDirectory, read_events
from rzero_mega.run.verify import verify_run
from tests.run.killable import work

ACCESSES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.listdir", "os.scandir")


class Disk:
    """Accesses to a folder, of which one fails."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.fails_at = self.seen = 0
        self.error = errno.EIO

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        """For `sys.addaudithook`, which knows no way back."""
        if self.folder is None or event not in ACCESSES or not str(arguments[0]).startswith(str(self.folder)):
            return
        self.seen += 1
        if self.seen == self.fails_at:
            raise OSError(self.error, os.strerror(self.error), arguments[0])


DISK = Disk()


@pytest.fixture(scope="module", autouse=True)
def _hooked() -> None:
    sys.addaudithook(DISK.hook)


@pytest.fixture
def failing() -> Iterator[Callable[[Path, int, int], None]]:
    def fail(folder: Path, at: int, error: int) -> None:
        DISK.folder, DISK.fails_at, DISK.seen, DISK.error = folder, at, 0, error

    yield fail
    DISK.folder = None


def look(path: Path) -> None:
    """What readers do."""
    run = RunDirectory.open_existing(path)
    read_events(run.events_path)
    assert verify_run(run).damaged == ()
    for phase in run.phases():
        phase.metrics()
        phase.is_finished(dict(phase.manifest().inputs))  # type: ignore[union-attr]


def fail_at_every_access(
    root: Path, action: Callable[[Path], None], failing: Callable[[Path, int, int], None], error: int
) -> int:
    """Do it again and again, each time with another access that fails; how many there are."""
    at = 0
    while True:
        at += 1
        path = root / str(at) / "run" if action is not look else root / "run"
        failing(path, at, error)
        try:
            action(path)
        except (UserError, OSError) as failure:
            # What nothing below has put into words, ranks and the command do (`spmd.py`, `commands/process.py`).
            line = storage_failure(failure) if isinstance(failure, OSError) else failure
            assert str(path) in str(line) and "\n" not in str(line)
        except AssertionError:
            assert action is look  # verify lists what it cannot read
        if DISK.seen < at:
            return at - 1


@pytest.mark.parametrize("error", [errno.EIO, errno.EPERM])
def test_a_run_whose_storage_fails_at_any_access_ends_with_a_line(
    tmp_path: Path, failing: Callable[[Path, int, int], None], error: int
) -> None:
    assert fail_at_every_access(tmp_path, lambda path: work(path, parts=1, steps=2), failing, error) > 40


@pytest.mark.parametrize("error", [errno.EIO, errno.EACCES])
def test_readers_of_a_run_whose_storage_fails_end_with_a_line(
    tmp_path: Path, failing: Callable[[Path, int, int], None], error: int
) -> None:
    work(tmp_path / "run", parts=1, steps=2)
    assert fail_at_every_access(tmp_path, look, failing, error) > 15


@pytest.mark.parametrize("root", ["/proc/run", "/proc/self/run", "/dev/null/run", "{file}/run", "{long}", "{loop}/run"])
def test_places_where_no_run_can_lie_are_a_line(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    names = {"file": tmp_path / "file", "long": tmp_path / ("x" * 300), "loop": tmp_path / "loop"}
    path = Path(root.format(**names))
    with pytest.raises(UserError, match=str(path)[:20]):
        RunDirectory.create_or_open(path, load_config(overrides=["run.minimum_free_mb=0"]), writer=True)
