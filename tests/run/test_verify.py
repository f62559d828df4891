"""A whole run read and held against its hashes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rzero_mega.atomic import files_below, sha256
from rzero_mega.commands.verify import verify_and_show
from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.run.checksums import Checksums, folder_hashes
from rzero_mega.run.verify import verify_run
from tests.run.test_damage import finished, flip, parts

STEPS = 2


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    """A finished phase, a phase of parts and one of steps that are under way."""
    with RunDirectory.create_or_open(tmp_path / "run", load_config(), writer=True) as run:
        finished(run)
        parts(run, iteration=2)
        phase = run.phase(2, PhaseName.SOLVER)
        phase.begin({"1/solver/model": run.phase(1, PhaseName.SOLVER).artefact("model").sha256})
        for step in range(1, STEPS + 1):
            phase.log_step(step, {"loss": 1.0})
            staging = phase.checkpoint_staging(step)
            (staging / "weights").write_bytes(bytes([step]) * 50)
            Checksums(step, folder_hashes(staging)).write(staging)
            phase.commit_checkpoint(step, keep=STEPS)
    yield RunDirectory.open_existing(tmp_path / "run")


def test_an_undamaged_run_is_whole(run: RunDirectory) -> None:
    verdict = verify_run(run)
    assert verdict.damaged == () and verdict.checks >= 14


def test_every_file_of_a_phase_is_named_when_a_bit_of_it_changes(run: RunDirectory, tmp_path: Path) -> None:
    names = [path.relative_to(run.path) for path in files_below(run.path / "iterations")]
    assert len(names) == 17
    for name in names:
        copy = tmp_path / "copy"
        shutil.copytree(run.path, copy)
        flip(copy / name)
        damaged = verify_run(RunDirectory.open_existing(copy)).damaged
        assert damaged and any(str(name.parent) in line or name.name == "state.json" for line in damaged), name
        shutil.rmtree(copy)


def test_the_command_says_so_in_a_line_or_in_one_for_each_damage(
    run: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "whole" in verify_and_show(run)
    flip(run.phase(2, PhaseName.QUESTIONS).part_path(1))
    with pytest.raises(UserError, match=r"1 of \d+ checks failed"):
        verify_and_show(run)
    assert "part-00001.jsonl: has changed" in capsys.readouterr().out


def test_a_phase_that_was_made_from_another_output_is_named(run: RunDirectory) -> None:
    with RunDirectory.create_or_open(run.path, load_config(), writer=True) as again:
        phase = again.phase(2, PhaseName.LABELS)
        phase.begin({"1/solver/model": sha256(run.path / "run.json"), "base": "a" * 64})
        phase.finish({}, {})
    assert ["was made from another 1/solver/model" in line for line in verify_run(run).damaged] == [True]
    shutil.rmtree(run.phase(1, PhaseName.SOLVER).path)
    assert ["from 1/solver/model, which is no longer there" in line for line in verify_run(run).damaged] == [True]
