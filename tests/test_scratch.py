"""Temporary folders of killed processes are cleared away, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rzero_mega import scratch
from tests import ROOT

MAKE = """
import sys, time
from pathlib import Path
from rzero_mega.scratch import make_folder, note_elsewhere
folder = make_folder("test")
note_elsewhere(folder, map(Path, sys.argv[2:]), [int(sys.argv[1])] if int(sys.argv[1]) else [])
print(folder, flush=True)
time.sleep(600)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files, here and in processes that are started."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("shm") / "psm_1"
    file.write_bytes(b"shared")
    return file


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def killed(*arguments: object) -> Path:
    """The folder of a process that was killed."""
    command = [sys.executable, "-c", MAKE, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        scratch.sweep()
        assert folder.is_dir(), "its process lives"
        process.send_signal(signal.SIGKILL)
    return folder


def test_the_folder_of_a_killed_process_and_what_goes_with_it_are_removed_by_the_next_one(
    root: Path, elsewhere: Path
) -> None:
    folder = killed(0, elsewhere)
    with scratch.temporary_folder("test") as mine:
        assert not folder.exists() and not elsewhere.exists()
        assert mine.parent == root and mine.stat().st_mode & 0o777 == 0o700
    assert list(root.iterdir()) == []


def test_nothing_is_removed_while_a_process_that_uses_it_lives(
    root: Path, elsewhere: Path, other: subprocess.Popen[bytes]
) -> None:
    folder = killed(other.pid, elsewhere)
    scratch.sweep()
    assert folder.exists() and elsewhere.exists()
    other.kill()
    other.wait()
    scratch.sweep()
    assert not folder.exists() and not elsewhere.exists()


def test_a_later_file_of_the_same_name_stays(root: Path, elsewhere: Path) -> None:
    folder = killed(0, elsewhere)
    elsewhere.rename(elsewhere.with_name("old"))
    elsewhere.write_bytes(b"of another process")
    scratch.sweep()
    assert not folder.exists() and elsewhere.read_bytes() == b"of another process"


def test_a_later_process_of_the_same_number_keeps_nothing(root: Path) -> None:
    mine = scratch.make_folder("test")
    started = mine.name.split("-")[4]
    earlier = root / mine.name.replace(f"-{started}-", f"-{int(started) - 1}-")
    earlier.mkdir()
    scratch.sweep()
    assert not earlier.exists() and mine.exists()


@pytest.mark.parametrize(
    "name", ["rzero-mega-abc", "rzero-mega-000000000000-999999999-5-test-x", "other", "rzero-mega-{tag}-5-0-test-x"]
)
def test_what_is_not_provably_of_a_dead_process_stays(root: Path, name: str) -> None:
    folder = root / name.format(tag=scratch._tag())
    folder.mkdir()
    scratch.sweep()
    assert folder.exists()


def test_a_link_under_such_a_name_is_not_followed(root: Path, elsewhere: Path) -> None:
    (root / f"rzero-mega-{scratch._tag()}-999999999-5-test-x").symlink_to(elsewhere.parent)
    scratch.sweep()
    assert elsewhere.exists()


@pytest.mark.parametrize("notes", ["", "[]", '{"files": 3}', '{"files": {}, "processes": {"x": 1}}', "[" * 100_000])
def test_notes_that_nobody_can_read_hold_nothing_up(root: Path, notes: str) -> None:
    folder = root / f"rzero-mega-{scratch._tag()}-999999999-5-test-x"
    folder.mkdir()
    (folder / "elsewhere.json").write_text(notes)
    scratch.sweep()
    assert not folder.exists()
