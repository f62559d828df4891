"""One phase's folder: manifests, steps, parts, checkpoints; and the events of a run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import PhaseDirectory, RunDirectory, read_events
from rzero_mega.run.manifest import Values
from rzero_mega.run.phase import merged
from rzero_mega.run.sealed import read_sealed, write_sealed
from tests import ROOT


@dataclass(frozen=True)
class Row:
    part: int
    row: int
    text: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Row:
        return cls(**row)


A, B = "a" * 64, "b" * 64


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    config = load_config(overrides=["iterations=2", "evaluation.benchmarks=[nano]"])
    with RunDirectory.create_or_open(tmp_path / "run", config, writer=True) as run:
        yield run


def _finish(phase: PhaseDirectory, inputs: dict[str, str], **summary: object) -> None:
    phase.begin(inputs)
    output = phase.path / "out.txt"
    output.write_text("content")
    phase.finish({"out": output}, summary)


def test_a_finished_phase_reads_back(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.LABELS)
    assert not phase.is_finished({"questions": A})
    _finish(phase, {"questions": A}, kept=3)
    manifest = phase.manifest()
    assert manifest is not None and phase.is_finished({"questions": A})
    assert manifest.outputs["out"].bytes == 7 and manifest.summary == {"kept": 3} and manifest.attempts == 1
    assert phase.output("out").read_text() == "content"
    assert not phase.work.exists()


def test_changed_inputs_are_named(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.LABELS)
    _finish(phase, {"questions": A, "solver": A})
    with pytest.raises(UserError, match=r"other inputs \(solver changed\)"):
        phase.is_finished({"questions": A, "solver": B})


def test_partial_work_for_other_inputs_is_not_continued(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.LABELS)
    phase.begin({"questions": A, "base": A})
    phase.write_part(0, [])
    with pytest.raises(UserError, match=r"other inputs \(questions changed\); remove"):
        run.phase(1, PhaseName.LABELS).begin({"questions": B, "base": A})
    with pytest.raises(UserError, match=r"other inputs \(base changed\); give the run its base model back"):
        run.phase(1, PhaseName.LABELS).begin({"questions": A, "base": B})


@pytest.mark.parametrize(("before", "now"), [({}, {"base": B}), ({"base": B}, {})])
def test_the_base_may_come_in_or_go_for_phases_that_have_not_begun_alone(
    run: RunDirectory, before: dict[str, str], now: dict[str, str]
) -> None:
    finished, partial = run.phase(1, PhaseName.LABELS), run.phase(2, PhaseName.LABELS)
    _finish(finished, {"questions": A, **before})
    assert finished.is_finished({"questions": A, **now})
    with pytest.raises(UserError, match=r"other inputs \(questions changed\)"):
        finished.is_finished({"questions": B, **now})
    partial.begin({"questions": A, **before})
    partial.write_part(0, [])
    with pytest.raises(UserError, match=r"other inputs \(base changed\); set back the keys that say whether it needs"):
        run.phase(2, PhaseName.LABELS).begin({"questions": A, **now})


def test_an_attempt_that_got_nowhere_holds_on_to_no_inputs(run: RunDirectory) -> None:
    run.phase(1, PhaseName.LABELS).begin({"questions": A})
    _finish(run.phase(1, PhaseName.LABELS), {"questions": B})
    assert run.phase(1, PhaseName.LABELS).is_finished({"questions": B})


def test_a_manifest_says_under_which_values_the_phase_ran_and_from_where_on(run: RunDirectory) -> None:
    run.phase(1, PhaseName.LABELS).begin({}, {"low": 0.1, "high": 0.9})
    phase = run.phase(1, PhaseName.LABELS)
    phase.begin({}, {"low": 0.2, "high": 0.9})
    phase.write_part(0, [])
    phase.write_part(1, [])
    phase = run.phase(1, PhaseName.LABELS)
    phase.begin({}, {"low": 0.2, "high": 0.8})
    assert phase.values() == [Values(0, {"low": 0.2, "high": 0.9}), Values(2, {"high": 0.8})]
    phase.finish({}, {})
    manifest = run.phase(1, PhaseName.LABELS).manifest()
    assert manifest is not None and list(manifest.values) == list(phase.values())
    assert merged(manifest.values) == {"low": 0.2, "high": 0.8}


def test_a_changed_or_missing_output_is_named(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.LABELS)
    _finish(phase, {})
    phase.output("out").write_text("other content")
    with pytest.raises(UserError, match=r"out\.txt: has changed"):
        phase.is_finished({})
    phase.output("out").unlink()
    with pytest.raises(UserError, match=r"out\.txt: is missing"):
        phase.is_finished({})


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": "long"},
        {"outputs": []},
        {"attempts": True},
        {"inputs": {"x": "abc"}},
        {"outputs": {"out": {"path": "../../config.yaml", "sha256": A, "bytes": 1}}},
        {"outputs": {"out": {"path": "/etc/passwd", "sha256": A, "bytes": 1}}},
        {"outputs": {"out": {"path": "out.txt", "bytes": 1}}},
    ],
)
def test_a_malformed_manifest_is_named(run: RunDirectory, change: dict[str, object]) -> None:
    phase = run.phase(1, PhaseName.LABELS)
    _finish(phase, {})
    path = phase.path / "manifest.json"
    write_sealed(path, {**read_sealed(path, ""), **change})
    with pytest.raises(UserError, match=r"manifest\.json: malformed"):
        phase.manifest()


def test_a_manifest_that_is_no_json_is_named(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.LABELS)
    _finish(phase, {})
    (phase.path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json: not readable"):
        phase.is_finished({})


def test_rows_after_the_checkpoint_are_dropped_on_resume(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.SOLVER)
    phase.begin({})
    for step in (1, 2, 3):
        phase.log_step(step, {"loss": step / 2})
    with phase.metrics_path.open("a") as file:
        file.write('{"step": 4, "lo')
    resumed = run.phase(1, PhaseName.SOLVER)
    resumed.begin({})
    with pytest.raises(ValueError, match="truncate_metrics first"):
        resumed.log_step(2, {"loss": 1.0})
    resumed.truncate_metrics(1)
    resumed.log_step(2, {"loss": 1.0})
    assert resumed.metrics() == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}]


def _commit(phase: PhaseDirectory, step: int, **retention: int) -> None:
    (phase.checkpoint_staging(step) / "weights").write_text(str(step))
    phase.commit_checkpoint(step, **retention)


def test_only_the_latest_checkpoint_is_kept(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.SOLVER)
    phase.begin({})
    assert phase.latest_checkpoint() is None
    for step in (1, 2):
        _commit(phase, step)
    phase.checkpoint_staging(3)
    assert phase.latest_checkpoint() == (2, phase.checkpoint_path(2))
    assert [path.name for path in phase.work.glob("step_*")] == ["step_00002"]


def test_the_newest_checkpoints_and_every_nth_are_kept(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.SOLVER)
    phase.begin({})
    for step in range(1, 9):
        _commit(phase, step, keep=2, keep_every=3)
    assert sorted(path.name for path in phase.work.glob("st*_*")) == [f"step_0000{n}" for n in (3, 6, 7, 8)]


def test_checkpoints_go_with_the_finished_phase_unless_they_were_put_away(run: RunDirectory) -> None:
    for name, kept in ((PhaseName.CHALLENGER, False), (PhaseName.SOLVER, True)):
        phase = run.phase(1, name)
        phase.begin({})
        for step in (1, 2):
            _commit(phase, step, keep=2)
        if kept:
            phase.keep_checkpoints()
            assert phase.latest_checkpoint() == (2, phase.path / "checkpoints" / "step_00002")
        phase.finish({}, {})
        phase.sweep()
        assert not phase.work.exists()
        assert len(list(phase.path.rglob("weights"))) == (2 if kept else 0)


def test_parts_read_back_in_order(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.QUESTIONS)
    phase.begin({})
    for part in (10, *range(10)):
        phase.write_part(part, [Row(part, row) for row in range(2)])
    assert phase.finished_parts() == phase.checked_parts(11) == list(range(11))
    assert [(row.part, row.row) for row in phase.read_parts(Row, range(11))] == [
        (p, r) for p in range(11) for r in range(2)
    ]


def test_attempts_and_their_seconds_add_up(run: RunDirectory) -> None:
    run.phase(1, PhaseName.QUESTIONS).begin({})
    state = run.phase(1, PhaseName.QUESTIONS).work / "state.json"
    write_sealed(state, {**read_sealed(state, ""), "seconds": 1000.0})
    _finish(run.phase(1, PhaseName.QUESTIONS), {})
    manifest = run.phase(1, PhaseName.QUESTIONS).manifest()
    assert manifest is not None and manifest.attempts == 2 and manifest.seconds >= 1000


def test_writing_outside_begin_and_finish_is_a_bug(run: RunDirectory) -> None:
    phase = run.phase(1, PhaseName.SOLVER)
    with pytest.raises(RuntimeError, match="between begin and finish"):
        phase.log_step(1, {})
    _finish(phase, {})
    with pytest.raises(RuntimeError, match="is finished"):
        phase.begin({})


def test_a_full_disk_tears_no_metrics_row(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        with RunDirectory.create_or_open(disk, load_config(overrides=["run.minimum_free_mb=0"]), writer=True) as run:
            phase = run.phase(1, PhaseName.SOLVER)
            phase.begin({})
            with pytest.raises(UserError, match=r"metrics\.jsonl: no space left"):
                for step in range(1, 1000):
                    phase.log_step(step, {"loss": 0.5, "note": "x" * 1000})
            rows = phase.metrics()
            assert rows and phase.metrics_path.read_bytes().endswith(b"\n")
            assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
            with pytest.raises(UserError, match="no space left"):
                phase.write_part(0, [Row(0, 0, "x" * 200_000)])
            assert phase.finished_parts() == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_torn_event_swallows_no_later_one(run: RunDirectory) -> None:
    with run.events_path.open("a") as file:
        file.write('{"time": "2026')
    run.event("phase finished", phase="solver")
    events = read_events(run.events_path)
    assert [event.event for event in events] == ["created", "phase finished"]
    assert events[1].fields == {"phase": "solver"}


def test_run_imports_neither_torch_nor_wandb() -> None:
    import sys

    code = "import sys, rzero_mega.run; sys.exit(bool({'torch', 'wandb', 'megatron'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT)})
