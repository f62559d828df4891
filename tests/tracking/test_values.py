"""Plan, status and report say under which values each phase ran, where these are not those of now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rzero_mega.commands.run import plan_text
from rzero_mega.commands.status import show_status
from rzero_mega.config import Config, load_config
from rzero_mega.config.kinds import values_of
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, run_path
from rzero_mega.tracking.report import write_report
from rzero_mega.tracking.values import key_histories


@pytest.fixture
def changed(tmp_path: Path) -> tuple[RunDirectory, Config]:
    """Labels of iteration 1 are finished, its solver has a checkpoint of step 2; then three values change."""
    settings = [f"run.root={tmp_path}", "run.name=r", "run.minimum_free_mb=0", "iterations=1"]
    first = load_config(overrides=settings)
    learning = "solver.training.optimizer.learning_rate=0.5"
    second = load_config(
        overrides=[*settings, "labels.curation.low=0.1", learning, "tracking.project=x", "model.path=/moved"]
    )
    third = load_config(overrides=[*settings, "labels.curation.low=0.1", learning, "learner.layout.etp=1"])
    for config, phase, finished in ((first, PhaseName.LABELS, True), (first, PhaseName.SOLVER, False)):
        with RunDirectory.create_or_open(run_path(config), config, writer=True) as run:
            folder = run.phase(1, phase)
            folder.begin({}, values_of(config))
            if finished:
                folder.finish({}, {})
            else:
                folder.checkpoint_staging(2)
                folder.commit_checkpoint(2)
    for config in (second, third):
        with RunDirectory.create_or_open(run_path(config), config, writer=True) as run:
            run.phase(1, PhaseName.SOLVER).begin({}, values_of(config))
    return RunDirectory.open_existing(run_path(third)), third


LINES = [
    "solver.training.optimizer.learning_rate: 0.5 now; 1/solver had 1e-06, after 2 steps 0.5",
    "labels.curation.low: 0.1 now; 1/labels had 0.25",
    "learner.layout.etp: 1 now; 1/labels had null; 1/solver had null, after 2 steps 1",
]


def test_what_each_phase_had_is_told_key_by_key(changed: tuple[RunDirectory, Config]) -> None:
    assert sorted(map(str, key_histories(*changed))) == sorted(LINES)


def test_the_plan_of_a_run_that_is_there_shows_it(changed: tuple[RunDirectory, Config]) -> None:
    lines = [line.removeprefix("# ") for line in plan_text(changed[1]).splitlines() if line.startswith("#")]
    assert set(LINES) <= set(lines)
    assert [line for line in lines if line.endswith("(finished)")] == [
        line for line in lines if line.startswith("1/labels")
    ]


def test_status_shows_it(changed: tuple[RunDirectory, Config], capsys: pytest.CaptureFixture[str]) -> None:
    show_status(changed[0], as_json=False)
    assert set(LINES) <= set(capsys.readouterr().out.splitlines())
    show_status(changed[0], as_json=True)
    values = json.loads(capsys.readouterr().out)["values"]
    assert {"key": "labels.curation.low", "now": "0.1", "phases": {"1/labels": "0.25"}} in values


def test_the_report_shows_it(changed: tuple[RunDirectory, Config], tmp_path: Path) -> None:
    write_report(changed[0], tmp_path / "report.html")
    assert "ran under other values" in (tmp_path / "report.html").read_text()


def test_a_run_that_never_changed_has_nothing_to_show(tmp_path: Path) -> None:
    config = load_config(overrides=[f"run.root={tmp_path}", "run.name=r", "run.minimum_free_mb=0"])
    with RunDirectory.create_or_open(run_path(config), config, writer=True) as run:
        run.phase(1, PhaseName.SOLVER).begin({}, values_of(config))
        assert key_histories(run, config) == []
        write_report(run, tmp_path / "report.html")
    assert "ran under other values" not in (tmp_path / "report.html").read_text()
