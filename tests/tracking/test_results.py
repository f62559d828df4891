"""The table of results in the report and on W&B."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from rzero_mega.evaluation.statistics import accuracy, difference
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import WandbRun, write_report
from rzero_mega.tracking.report import results_tables
from rzero_mega.tracking.report_data import gather
from rzero_mega.tracking.results import WANDB_COLUMNS
from tests.evaluation.scores import rows
from tests.tracking.evaluated import write_evaluations
from tests.tracking.synthetic import synthetic_config, write_synthetic_run
from tests.tracking.test_wandb import FakeWandb

BASE, TRAINED = [1.0] * 40 + [0.0] * 60, [1.0] * 43 + [0.0] * 57


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """Two benchmarks, of which the second is not trained on."""
    scores = {
        iteration: [*rows("bbeh", right), *rows("clock", BASE)] for iteration, right in enumerate((BASE, TRAINED))
    }
    model = "model.path=Qwen/Qwen3-4B-Base"
    path = write_evaluations(tmp_path / "run", scores, {"bbeh": "general", "clock": "transfer"}, model)
    return RunDirectory.open_existing(path)


def test_the_report_has_accuracies_differences_the_paper_and_what_is_not_known(run: RunDirectory) -> None:
    values, deltas, paper = results_tables(gather(run))
    before, after = accuracy(BASE), difference(TRAINED, BASE)
    assert values.headings == ("accuracy, %", "questions", "base", "iteration 1")
    assert values.rows[0][:3] == ("BBEH", "100", f"40.0 [{100 * before.low:.1f}, {100 * before.high:.1f}]")
    assert deltas.rows[0] == ("BBEH", f"+3.0 [+0.0, {100 * after.high:+.1f}]")
    assert deltas.rows[1] == ("clock (transfer)", "+0.0 [−3.0, +3.0]")
    assert paper.rows[1] == ("BBEH", "iteration 1", "43.0", "9.4", "+33.6", "+3.0", "+1.8")
    write_report(run, run.path / "report.html")
    page = (run.path / "report.html").read_text()
    assert "<h2>Results</h2>" in page and "Qwen3-4B-Base beside the paper" in page
    assert "cannot be told apart on BBEH (100 questions tell differences from about 4.8 points on)" in page
    assert "Accuracy by benchmark" not in page


def test_a_report_of_damaged_scores_says_what_is_wrong_with_them(run: RunDirectory) -> None:
    damaged = run.phase(1, PhaseName.EVALUATE).path / "scores.jsonl"
    damaged.write_text(damaged.read_text().replace("1.0", "0.0", 1))
    write_report(run, run.path / "report.html")
    page = (run.path / "report.html").read_text()
    assert re.search(r"<p>\S*1/evaluate/scores.jsonl: has changed since it was written", page)


def test_what_scipy_lacks_is_said_and_the_report_is_there(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "rzero_mega.tracking.results")
    monkeypatch.delitem(sys.modules, "rzero_mega.evaluation.table")
    monkeypatch.delitem(sys.modules, "rzero_mega.evaluation.formats")
    monkeypatch.delitem(sys.modules, "rzero_mega.evaluation.published")
    monkeypatch.delitem(sys.modules, "rzero_mega.evaluation.statistics")
    monkeypatch.setitem(sys.modules, "scipy", None)
    write_report(run, run.path / "report.html")
    assert "takes scipy, which is not installed here" in (run.path / "report.html").read_text()


def test_every_evaluation_sends_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with write_synthetic_run(tmp_path / "run") as run:
        WandbRun(run).finish()
    tables = [values["eval/results"] for _, values in fake.history if "eval/results" in values]
    assert [columns for columns, _ in tables] == [list(WANDB_COLUMNS)] * 4
    by_iteration = [dict(zip(WANDB_COLUMNS, found[0], strict=True)) for _, found in tables]
    assert [row["iteration"] for row in by_iteration] == [0, 1, 2, 3]
    assert by_iteration[0]["gain"] is None
    for row in by_iteration[1:]:
        assert row["gain low"] < row["gain"] < row["gain high"] and row["low"] < row["value"] < row["high"]
    assert {row[1] for row in tables[0][1]} == {"arithmetic", "arithmetic, greedy", "arithmetic, vote"}


def test_damaged_scores_do_not_end_tracking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    path = write_evaluations(tmp_path / "run", {0: rows("b", BASE), 1: rows("b", TRAINED)}, {})
    (path / "iterations/0/evaluate/scores.jsonl").unlink()
    with RunDirectory.create_or_open(path, synthetic_config(), writer=True) as run:
        tracker = WandbRun(run)
        tracker.sync()
        assert tracker.active
    assert [values["iteration"] for _, values in fake.history] == [0, 1]
    assert "W&B gets no table of results" in caplog.text
