"""When a phase's checkpoints are begun and committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config import load_config
from rzero_mega.config.schema import CheckpointConfig
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.checkpoints import Checkpoints
from rzero_mega.run import PhaseDirectory, RunDirectory


class Disk:
    """A learner whose saves take as long as the test says."""

    def __init__(self) -> None:
        self.fast, self.broken = True, False
        self.waited_for: list[int] = []

    def start_save(self, folder: Path, step: int) -> Save:
        (folder / "weights").write_text(str(step))
        return Save(self, step)


class Save:
    def __init__(self, disk: Disk, step: int) -> None:
        self.disk, self.step = disk, step

    def is_written(self) -> bool:
        return self.disk.fast

    def finish(self) -> None:
        if not self.disk.fast:
            self.disk.waited_for.append(self.step)
        if self.disk.broken:
            raise UserError("no space")


@pytest.fixture
def phase(tmp_path: Path) -> Iterator[PhaseDirectory]:
    with RunDirectory.create_or_open(tmp_path / "run", load_config(), writer=True) as run:
        phase = run.phase(1, PhaseName.SOLVER)
        phase.begin({})
        yield phase


def checkpoints(phase: PhaseDirectory, disk: Any, **config: Any) -> Checkpoints:
    return Checkpoints(phase, disk, CheckpointConfig(**config), lambda _folder: None)


def latest(phase: PhaseDirectory) -> int | None:
    found = phase.latest_checkpoint()
    return found and found[0]


def test_a_written_checkpoint_is_committed_at_the_end_of_the_next_step(phase: PhaseDirectory) -> None:
    saving = checkpoints(phase, Disk(), every=3)
    committed = []
    for step in range(1, 9):
        saving.after_step(step, last=8)
        committed.append(latest(phase))
    saving.finish()
    assert committed == [None, None, None, 3, 3, 3, 6, 6]
    assert latest(phase) == 8


def test_steps_go_on_while_a_checkpoint_is_written_and_wait_only_for_the_next(phase: PhaseDirectory) -> None:
    disk = Disk()
    saving = checkpoints(phase, disk, every=2)
    saving.after_step(2, last=9)
    disk.fast = False
    saving.after_step(3, last=9)
    assert (disk.waited_for, latest(phase)) == ([], None)
    saving.after_step(4, last=9)
    assert (disk.waited_for, latest(phase)) == ([2], 2)


def test_a_synchronous_checkpoint_is_committed_in_its_step(phase: PhaseDirectory) -> None:
    checkpoints(phase, Disk(), asynchronous=False).after_step(1, last=2)
    assert latest(phase) == 1


def test_a_checkpoint_that_could_not_be_written_leaves_the_last_good_one(phase: PhaseDirectory) -> None:
    disk = Disk()
    saving = checkpoints(phase, disk)
    saving.after_step(1, last=9)
    saving.after_step(2, last=9)
    disk.broken = True
    with pytest.raises(UserError, match="no space"):
        saving.after_step(3, last=9)
    assert latest(phase) == 1


def test_what_is_kept_outlives_the_phase_if_it_should(phase: PhaseDirectory) -> None:
    saving = checkpoints(phase, Disk(), keep=2, keep_every=2, keep_finished=True)
    for step in range(1, 6):
        saving.after_step(step, last=5)
    saving.finish()
    phase.finish({}, {})
    assert sorted(folder.name for folder in (phase.path / "checkpoints").iterdir()) == [
        "step_00002",
        "step_00004",
        "step_00005",
    ]
