"""When a phase's checkpoints are begun and committed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config import load_config
from rzero_mega.config.schema import CheckpointConfig
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.checkpoint_pace import CheckpointPace
from rzero_mega.phases.checkpoints import Checkpoints
from rzero_mega.run import PhaseDirectory, RunDirectory


class Clock:
    """Seconds that pass as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Disk:
    """A learner whose saves take as long as the test says."""

    def __init__(self, clock: Clock | None = None, copies_s: float = 0.0) -> None:
        self.fast, self.broken = True, False
        self.waited_for: list[int] = []
        self.clock, self.copies_s = clock or Clock(), copies_s

    def start_save(self, folder: Path, step: int) -> Save:
        self.clock.now += self.copies_s
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


def checkpoints(phase: PhaseDirectory, disk: Disk, **config: Any) -> Checkpoints:
    learner: Any = disk
    return Checkpoints(phase, learner, CheckpointConfig(**config), lambda _folder: None, disk.clock)


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
    saving = checkpoints(phase, disk, every=1)
    saving.after_step(1, last=9)
    saving.after_step(2, last=9)
    disk.broken = True
    with pytest.raises(UserError, match="no space"):
        saving.after_step(3, last=9)
    assert latest(phase) == 1


def test_what_is_kept_outlives_the_phase_if_it_should(phase: PhaseDirectory) -> None:
    saving = checkpoints(phase, Disk(), every=1, keep=2, keep_every=2, keep_finished=True)
    for step in range(1, 6):
        saving.after_step(step, last=5)
    saving.finish()
    phase.finish({}, {})
    assert sorted(folder.name for folder in (phase.path / "checkpoints").iterdir()) == [
        "step_00002",
        "step_00004",
        "step_00005",
    ]


def begun(saving: Checkpoints, clock: Clock, last: int, step_s: float) -> list[int]:
    """The steps, of so many seconds each, that have a checkpoint."""
    found = []
    for step in range(1, last + 1):
        clock.now += step_s
        if saving.after_step(step, last):
            found.append(step)
    return found


def test_by_time_a_step_has_a_checkpoint_once_the_last_one_is_a_small_share(phase: PhaseDirectory) -> None:
    clock = Clock()
    saving = checkpoints(phase, Disk(clock, copies_s=2.0), share=0.1)
    # 2 s are a tenth of 20 s: of the two themselves and of three steps.
    assert begun(saving, clock, last=12, step_s=6.0) == [1, 4, 7, 10, 12]


@pytest.mark.parametrize(("share", "found"), [(0.0, [1, 9]), (1.0, list(range(1, 10)))])
def test_a_share_of_nothing_leaves_the_first_and_the_last_and_of_everything_each(
    phase: PhaseDirectory, share: float, found: list[int]
) -> None:
    clock = Clock()
    saving = checkpoints(phase, Disk(clock, copies_s=50.0), share=share)
    assert begun(saving, clock, last=9, step_s=1.0) == found


def test_every_so_many_steps_there_is_one_whatever_it_takes(phase: PhaseDirectory) -> None:
    clock = Clock()
    saving = checkpoints(phase, Disk(clock, copies_s=50.0), every=4, share=0.01)
    assert begun(saving, clock, last=9, step_s=1.0) == [4, 8, 9]


def test_steps_that_are_kept_have_one_in_any_case(phase: PhaseDirectory) -> None:
    clock = Clock()
    saving = checkpoints(phase, Disk(clock, copies_s=50.0), keep_every=4)
    assert begun(saving, clock, last=9, step_s=1.0) == [1, 4, 8, 9]
    saving.finish()
    assert [step for step, _ in phase.checkpoints()] == [4, 8, 9]


def test_by_time_none_is_begun_that_would_wait_for_the_one_on_its_way(phase: PhaseDirectory) -> None:
    clock = Clock()
    disk = Disk(clock)
    saving = checkpoints(phase, disk)
    assert saving.after_step(1, last=9)
    disk.fast = False
    assert [saving.after_step(step, last=9) for step in (2, 3)] == [False, False]
    disk.fast = True
    assert saving.after_step(4, last=9) and disk.waited_for == []


def test_whoever_goes_on_has_a_checkpoint_after_the_first_step(phase: PhaseDirectory) -> None:
    clock = Clock()
    for first in (1, 2, 3):  # killed after each
        saving = checkpoints(phase, Disk(clock, copies_s=50.0))
        assert saving.after_step(first, last=9)
        saving.finish()
        assert latest(phase) == first


@pytest.mark.parametrize("seed", range(20))
def test_training_waits_for_checkpoints_for_no_more_than_their_share_of_the_time(seed: int) -> None:
    numbers = random.Random(seed)
    share, now, spent, last, begins = numbers.uniform(0.005, 0.5), 0.0, 0.0, 0.0, list[float]()
    pace = CheckpointPace(share)
    for _ in range(500):
        now += numbers.expovariate(1)  # a step
        look = numbers.uniform(0, 0.001)
        if pace.is_due(now):
            # Up to here all of them are paid for, this one is not yet.
            assert not begins or spent <= share * (now - begins[0]) + 1e-9
            pace.begin(now)
            begins.append(now)
            last = numbers.expovariate(2)
        waited = look + (last if begins[-1] == now else 0.0)
        pace.wait(waited)
        spent += waited
        now += waited
    assert len(begins) > 1
