"""A checkpoint that is written while training goes on."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints import async_save
from rzero_mega.learner.learner import Learner
from tests.learner.ranks import rollouts

VOCABULARY = 61


@pytest.fixture(scope="module")
def policy(alone: ParallelLayout, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """A learner after a step."""
    folder = tmp_path_factory.mktemp("base")
    tiny_model("qwen3", vocab_size=VOCABULARY).save_pretrained(folder)
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=64)
    policy = Learner(folder, alone, settings, GrpoConfig(), OptimizerConfig(learning_rate=1e-2), longest_response=30)
    policy.train_step(rollouts(1, VOCABULARY))
    return policy


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before this is set."""
    write, go_on = async_save._write, threading.Event()

    def waiting(*arguments: Any) -> Any:
        assert go_on.wait(60)
        return write(*arguments)

    monkeypatch.setattr(async_save, "_write", waiting)
    return go_on


def data(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.distcp")}


def test_a_step_during_the_writing_changes_nothing_of_what_is_written(
    policy: Learner, held: threading.Event, tmp_path: Path
) -> None:
    folders = [tmp_path / name for name in ("pending", "at-once", "later")]
    for folder in folders:
        folder.mkdir()
    held.set()
    policy.save(folders[1], 1)
    held.clear()
    pending = policy.start_save(folders[0], 1)
    policy.train_step(rollouts(2, VOCABULARY))
    assert not pending.is_written()
    held.set()
    pending.finish()
    policy.save(folders[2], 2)
    assert data(folders[0]) == data(folders[1])
    assert data(folders[0]) != data(folders[2])


def test_a_checkpoint_is_none_before_its_save_is_finished(
    policy: Learner, held: threading.Event, tmp_path: Path
) -> None:
    pending = policy.start_save(tmp_path, 1)
    held.set()
    while not pending.is_written():
        time.sleep(0.01)
    assert data(tmp_path) and not (tmp_path / ".metadata").exists()
    pending.finish()
    assert (tmp_path / ".metadata").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes an empty disk of so many KB, in place of the one before."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def empty_disk(kilobytes: int) -> Path:
        nonlocal mounted
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], capture_output=True
        )
        mounted = done.returncode == 0
        if not mounted:
            pytest.skip(f"a small tmpfs cannot be mounted here: {done.stderr.decode().strip()}")
        return folder

    yield empty_disk
    if mounted:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_at_any_moment_of_a_save_is_one_line(
    policy: Learner, disk: Callable[[int], Path], tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    policy.save(whole, 1)
    largest = sum(file.stat().st_size for file in whole.iterdir()) // 1024 + 40
    written = 0
    for size in range(4, largest, largest // 16):
        folder = disk(size) / "checkpoint"
        folder.mkdir()
        try:
            policy.save(folder, 1)
            written += 1
        except UserError as error:
            assert "no space left" in str(error) and str(folder) in str(error)
    assert written <= 2


def test_a_file_that_cannot_be_written_in_the_background_is_one_line_that_names_the_folder(
    policy: Learner, tmp_path: Path
) -> None:
    (tmp_path / "__0_0.distcp").mkdir()
    pending = policy.start_save(tmp_path, 1)
    with pytest.raises(UserError, match=r"__0_0.distcp: is a folder where a file should be") as caught:
        pending.finish()
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / ".metadata").exists()
