"""What a run reads is what it wrote: outputs, parts, checkpoints and metrics that have changed are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import read_records
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.run.sealed import read_sealed, write_sealed

A = "a" * 64
PARTS, STEPS = 3, 3


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory.create_or_open(tmp_path / "run", load_config(), writer=True) as run:
        yield run


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def doubled(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def gone(path: Path) -> None:
    path.unlink()


DAMAGES: tuple[Callable[[Path], None], ...] = (flip, cut, empty, zeros, doubled, a_folder, gone)


def finished(run: RunDirectory) -> PhaseDirectory:
    """A phase with a file and a model of two shards."""
    phase = run.phase(1, PhaseName.SOLVER)
    phase.begin({})
    phase.log_step(1, {"loss": 0.5})
    (phase.path / "rows.jsonl").write_text('{"question": "What is 1 + 1?", "own_answer": "2"}\n')
    (phase.path / "model").mkdir()
    for shard in (1, 2):
        (phase.path / "model" / f"shard-{shard}").write_bytes(bytes([shard]) * 100)
    phase.finish({"rows": Path("rows.jsonl"), "model": Path("model")}, {"kept": 1})
    return phase


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["rows.jsonl", "metrics.jsonl"])
def test_a_file_that_a_finished_phase_left_is_checked_before_the_phase_counts(
    run: RunDirectory, name: str, damage: Callable[[Path], None]
) -> None:
    phase = finished(run)
    assert phase.is_finished({})
    damage(phase.path / name)
    with pytest.raises(UserError, match=rf"{name}: .* to redo"):
        phase.is_finished({})


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_model_is_checked_file_by_file_when_it_is_used(run: RunDirectory, damage: Callable[[Path], None]) -> None:
    phase = finished(run)
    files = phase.output_files("model")
    assert files == ["model/shard-1", "model/shard-2"]
    phase.check_output("model", files)
    damage(phase.path / "model" / "shard-2")
    phase.check_output("model", files[:1])
    with pytest.raises(UserError, match=r"model/shard-2"):
        phase.check_output("model", files[1:])


def test_a_file_that_was_put_into_a_model_is_named(run: RunDirectory) -> None:
    phase = finished(run)
    (phase.path / "model" / "shard-3").write_bytes(b"")
    with pytest.raises(UserError, match=r"shard-3: does not belong there"):
        phase.is_finished({})


def test_records_are_hashed_as_they_are_read(run: RunDirectory) -> None:
    phase = finished(run)
    path, sha256 = phase.output("rows"), phase.artefact("rows").sha256
    assert len(read_records(path, WrittenQuestion, sha256=sha256)) == 1
    path.write_text('{"question": "What is 1 + 2?", "own_answer": "3"}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl: has changed"):
        read_records(path, WrittenQuestion, sha256=sha256)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_changed_manifest_is_named(run: RunDirectory, damage: Callable[[Path], None]) -> None:
    phase = finished(run)
    damage(phase.manifest_path)
    if damage is gone:
        assert phase.manifest() is None  # the phase is not finished, and is done again
        return
    with pytest.raises(UserError, match=r"manifest\.json: "):
        phase.manifest()


def test_the_manifest_of_another_phase_is_refused(run: RunDirectory) -> None:
    phase, other = finished(run), run.phase(2, PhaseName.SOLVER)
    shutil.copytree(phase.path, other.path)
    with pytest.raises(UserError, match=r"is of iteration 1, solver"):
        other.is_finished({})


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 1e308},
        {"seconds": -1.0},
        {"seconds": True},
        {"attempts": 0},
        {"attempts": 10**30},
        {"iteration": -1},
        {"iteration": 1.0},
        {"phase": "dinner"},
        {"summary": 3},
        {"outputs": {"model": 3}},
        {"outputs": {"model": {"path": "model", "sha256": A, "bytes": 1, "files": {"x": {"sha256": A, "bytes": 1}}}}},
        {"outputs": {"model": {"path": "model", "sha256": A, "bytes": 1, "files": {"../x": {}}}}},
    ],
)
def test_values_that_no_phase_writes_are_one_line(run: RunDirectory, change: dict[str, object]) -> None:
    phase = finished(run)
    write_sealed(phase.manifest_path, {**read_sealed(phase.manifest_path, ""), **change})
    with pytest.raises(UserError, match=r"manifest\.json: "):
        phase.manifest()


# Parts


def parts(run: RunDirectory, iteration: int = 1, inputs: str = A) -> PhaseDirectory:
    """A phase of parts that an earlier attempt began and a new one goes on with."""
    phase = run.phase(iteration, PhaseName.QUESTIONS)
    phase.begin({"model": inputs})
    for part in range(PARTS):
        phase.write_part(part, [WrittenQuestion(f"{iteration}-{part}-{inputs}", None)])
    return phase


def again(run: RunDirectory, inputs: str = A) -> PhaseDirectory:
    phase = run.phase(1, PhaseName.QUESTIONS)
    phase.begin({"model": inputs})
    return phase


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_is_named_or_done_again(run: RunDirectory, damage: Callable[[Path], None]) -> None:
    parts(run)
    phase = again(run)
    assert phase.checked_parts(PARTS) == [0, 1, 2]
    damage(phase.part_path(1))
    if damage is gone:
        assert phase.checked_parts(PARTS) == [0, 2]
    else:
        with pytest.raises(UserError, match=r"part-00001\.jsonl: .*"):
            phase.checked_parts(PARTS)
    with pytest.raises(UserError, match=r"part-00001\.jsonl: .*"):
        phase.read_parts(WrittenQuestion, range(PARTS))


def _of_another_phase(phase: PhaseDirectory, run: RunDirectory) -> None:
    shutil.copy(parts(run, iteration=2).part_path(1), phase.part_path(1))


def _under_another_name(phase: PhaseDirectory, _run: RunDirectory) -> None:
    shutil.copy(phase.part_path(0), phase.part_path(1))


def _of_another_run(phase: PhaseDirectory, run: RunDirectory) -> None:
    with RunDirectory.create_or_open(run.path.parent / "other", load_config(), writer=True) as other:
        shutil.copy(parts(other).part_path(1), phase.part_path(1))


def _without_a_header(phase: PhaseDirectory, _run: RunDirectory) -> None:
    phase.part_path(1).write_bytes(phase.part_path(1).read_bytes().partition(b"\n")[2])


@pytest.mark.parametrize("change", [_of_another_phase, _under_another_name, _of_another_run, _without_a_header])
def test_a_part_that_is_not_this_one_is_named(
    run: RunDirectory, change: Callable[[PhaseDirectory, RunDirectory], None]
) -> None:
    phase = parts(run)
    change(phase, run)
    with pytest.raises(UserError, match=r"part-00001\.jsonl: .* remove it"):
        again(run).checked_parts(PARTS)


def test_a_part_beyond_the_last_is_named(run: RunDirectory) -> None:
    phase = parts(run)
    shutil.copy(phase.part_path(0), phase.part_path(9))
    with pytest.raises(UserError, match=r"part-00009\.jsonl: the phase has 3 parts"):
        again(run).checked_parts(PARTS)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_of_a_phase_is_named(run: RunDirectory, damage: Callable[[Path], None]) -> None:
    state = parts(run).work / "state.json"
    damage(state)
    with pytest.raises(UserError, match=r"state\.json: .*to start the phase afresh|state\.json: .*remove it"):
        again(run)


# Checkpoints and metrics


def trained(run: RunDirectory, iteration: int = 1) -> PhaseDirectory:
    """A phase of steps that was ended after its third, with checkpoints of all of them."""
    phase = run.phase(iteration, PhaseName.SOLVER)
    phase.begin({})
    for step in range(1, STEPS + 1):
        phase.log_step(step, {"loss": 1 / step})
        (phase.checkpoint_staging(step) / "weights").write_text(f"{iteration} {step}")
        phase.commit_checkpoint(step, keep=STEPS)
    phase.log_step(STEPS + 1, {"loss": 0.0})
    resumed = run.phase(iteration, PhaseName.SOLVER)
    resumed.begin({})
    return resumed


def test_the_rows_after_the_checkpoint_are_dropped_and_those_before_it_are_whole(run: RunDirectory) -> None:
    phase = trained(run)
    phase.truncate_metrics(STEPS)
    assert [row["step"] for row in phase.metrics()] == [1, 2, 3]
    phase.truncate_metrics(2)
    assert [row["step"] for row in phase.metrics()] == [1, 2]


def _without_row(lines: list[str]) -> list[str]:
    return [lines[0], *lines[2:]]


def _row_twice(lines: list[str]) -> list[str]:
    return [lines[0], lines[1], *lines[1:]]


def _another_number(lines: list[str]) -> list[str]:
    return [lines[0].replace("1.0", "1.5"), *lines[1:]]


def _another_order(lines: list[str]) -> list[str]:
    return lines[::-1]


def _no_rows(_lines: list[str]) -> list[str]:
    return []


@pytest.mark.parametrize("change", [_without_row, _row_twice, _another_number, _no_rows, _another_order])
def test_rows_that_are_not_those_that_were_logged_are_noticed(
    run: RunDirectory, change: Callable[[list[str]], list[str]]
) -> None:
    phase = trained(run)
    lines = phase.metrics_path.read_text().splitlines(keepends=True)
    phase.metrics_path.write_text("".join(change(lines)))
    with pytest.raises(UserError, match=r"metrics\.jsonl: the rows up to step 3"):
        phase.truncate_metrics(STEPS)


def test_a_row_that_is_lost_while_the_phase_works_is_noticed_when_it_ends(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.SOLVER)
    phase.begin({})
    for step in (1, 2, 3):
        phase.log_step(step, {"loss": 1.0})
    lines = phase.metrics_path.read_text().splitlines(keepends=True)
    phase.metrics_path.write_text("".join(_without_row(lines)))
    with pytest.raises(UserError, match=r"metrics\.jsonl: the row of step 2 was lost or doubled"):
        phase.finish({}, {})


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_origin_of_a_checkpoint_is_named(run: RunDirectory, damage: Callable[[Path], None]) -> None:
    phase = trained(run)
    origin = phase.checkpoint_path(STEPS) / "origin.json"
    if damage is flip:  # of the step
        origin.write_text(json.dumps({**json.loads(origin.read_text()), "step": 2}))
    else:
        damage(origin)
    with pytest.raises(UserError, match=r"origin\.json: .*remove .*step_00003 to go on from the checkpoint before it"):
        phase.latest_checkpoint()


def test_a_checkpoint_under_the_name_of_another_step_is_refused(run: RunDirectory) -> None:
    phase = trained(run)
    shutil.copytree(phase.checkpoint_path(1), phase.checkpoint_path(7))
    with pytest.raises(UserError, match=r"step_00007.*was made after step 1 and not 7"):
        phase.latest_checkpoint()


def test_a_checkpoint_of_another_phase_is_refused(run: RunDirectory) -> None:
    phase, other = trained(run), trained(run, iteration=2)
    shutil.copytree(other.checkpoint_path(1), phase.checkpoint_path(4))
    origin = phase.checkpoint_path(4) / "origin.json"
    origin.write_text(json.dumps({**json.loads(origin.read_text()), "step": 4}))
    with pytest.raises(UserError, match=r"step_00004.*is of another run or phase"):
        phase.latest_checkpoint()


def test_a_run_below_a_relative_root_finishes_its_phases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with RunDirectory.create_or_open(Path("runs/a"), load_config(), writer=True) as run:
        phase = finished(run)
        assert phase.is_finished({}) and phase.artefact("metrics").path == "metrics.jsonl"
        phase.check_output("model", phase.output_files("model"))
