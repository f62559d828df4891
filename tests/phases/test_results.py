"""What the evaluate phase keeps is what status, report, W&B and `compare` make their table of."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rzero_mega.coevolution.plan import BASE, EvaluateInputs
from rzero_mega.commands.compare import compared
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import evaluate
from rzero_mega.tracking import run_status, write_report
from rzero_mega.tracking.results import run_results, wandb_rows
from rzero_mega.tracking.status import interval_lines
from rzero_mega.tracking.wandb_run import WandbRun
from tests.phases.scripted import ScriptedRun
from tests.tracking.test_wandb import FakeWandb

PROBLEMS = 8


@pytest.fixture
def run(scripted: Callable[..., ScriptedRun], tmp_path: Path) -> ScriptedRun:
    """A base that solves two problems of eight, and an iteration that solves six."""
    benchmark = tmp_path / "sums.jsonl"
    benchmark.write_text(
        "".join(json.dumps({"question": f"{n}+1", "answer": str(n + 1)}) + "\n" for n in range(PROBLEMS))
    )
    run = scripted(f"evaluation.benchmarks=['{benchmark}']", "evaluation.samples=2", "tracking.wandb=offline")
    for iteration, solved in enumerate((2, 6)):

        def answer(prompt: str, index: int, solved: int = solved) -> str:
            number = int(prompt.removeprefix("Q:").partition("+")[0])
            return rf"\boxed{{{number + 1 if number < solved else 99}}}"

        run.script("solver", answer)
        evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE, iteration), EvaluateInputs(BASE))
    return run


def test_the_table_of_a_run(run: ScriptedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run_results(run.directory)
    assert results is not None and results.table.columns == ("base", "iteration 1")
    assert [row.label for row in results.table.rows] == ["sums", "sums, greedy", "sums, vote"]
    for row in results.table.rows:
        before, after = row.cells
        assert before and after and after.delta
        assert (before.value.value, after.value.value, after.delta.value) == (0.25, 0.75, 0.5)
        assert after.delta.tells_apart and after.value.items == PROBLEMS
    assert compared([str(run.directory.path)]).table == results.table
    (mean, greedy) = interval_lines(run_status(run.directory))
    assert mean.startswith("mean   base 25.0 % [7.1, 59.1] → iteration 1 75.0 % [40.9, 92.9]")
    assert greedy.startswith("greedy base 25.0 %")
    write_report(run.directory, tmp_path / "report.html")
    assert "+50.0 [+12.5, +87.5]" in (tmp_path / "report.html").read_text()
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    WandbRun(run.directory).finish()
    tables = [values["eval/results"][1] for _, values in fake.history if "eval/results" in values]
    assert [list(row) for row in wandb_rows(results, 1)] == tables[1]
    assert tables[0][0][6:] == [None, None, None]
