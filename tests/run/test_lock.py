"""One writer, whatever becomes of the lock's file."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.run.lock import RunLock, is_locked

CONFIG = load_config()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run"


def refuse_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS does: what is open for reading can't be locked."""
    flock = fcntl.flock

    def locking(descriptor: int, operation: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECTORY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", locking)


def test_without_its_file_the_lock_still_keeps_others_out(path: Path) -> None:
    with RunDirectory.create_or_open(path, CONFIG, writer=True) as run:
        (path / ".lock").unlink()
        assert RunDirectory.open_existing(path).is_alive()
        with pytest.raises(UserError, match="in use by"):
            RunDirectory.create_or_open(path, CONFIG, writer=True)
        assert not (path / ".lock").exists(), "who is refused touches nothing"
        run.event("still here")
        assert (path / ".lock").exists()
    assert not RunDirectory.open_existing(path).is_alive()


def test_where_folders_have_no_locks_the_first_process_notices_that_another_has_taken_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_folders(monkeypatch)
    with RunDirectory.create_or_open(path, CONFIG, writer=True) as first:
        phase = first.phase(1, PhaseName.SOLVER)
        phase.begin({})
        phase.log_step(1, {"loss": 1.0})
        (path / ".lock").unlink()
        with RunDirectory.create_or_open(path, CONFIG, writer=True):
            before = phase.metrics()
            for write in (
                lambda: phase.log_step(2, {"loss": 1.0}),
                lambda: phase.finish({}, {}),
                lambda: phase.checkpoint_staging(1),
                lambda: phase.write_part(0, []),
                lambda: phase.truncate_metrics(0),
                lambda: first.event("more"),
            ):
                with pytest.raises(UserError, match=rf"\.lock: was removed, and process {os.getpid()} "):
                    write()
            assert phase.metrics() == before and phase.manifest() is None


def test_a_folder_that_was_replaced_is_no_longer_this_process_s(path: Path) -> None:
    with RunDirectory.create_or_open(path, CONFIG, writer=True) as run:
        shutil.copytree(path, path.with_name("copy"))
        path.rename(path.with_name("old"))
        path.with_name("copy").rename(path)
        with pytest.raises(UserError, match="was removed or replaced while the run was at work"):
            run.event("more")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EPERM, errno.EACCES, errno.EINTR])
def test_a_lock_that_fails_is_one_line(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def failing(_descriptor: int, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    path.mkdir()
    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(UserError, match=r"\.lock: "):
        RunLock(path / ".lock")
    with pytest.raises(UserError, match=r"run: "):
        is_locked(path / ".lock")


def test_a_file_system_without_locks_is_warned_about(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    path.mkdir()
    monkeypatch.setattr(fcntl, "flock", failing)
    with caplog.at_level("WARNING", "rzero_mega"):
        lock = RunLock(path / ".lock")
    assert "has no locks" in caplog.text and not is_locked(path / ".lock")
    lock.check()
    lock.release()
