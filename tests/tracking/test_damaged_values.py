"""Numbers that no phase writes: what reads them says so in a line, or shows nothing in their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.errors import UserError
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.tracking.report import write_report
from rzero_mega.tracking.status import run_status
from rzero_mega.tracking.wandb_rows import step_values, summary_values
from tests.tracking.synthetic import write_synthetic_run

VALUES = (
    "NaN",
    "-Infinity",
    "1e308",
    "1e400",
    "1" + "0" * 400,
    "1" + "0" * 5000,
    "1" + "0" * 30,
    "1e99",
    "-7",
    "true",
    "null",
    '"many"',
    "[1, 2]",
    '{"mean": "x"}',
    "[" * 200 + "]" * 200,
)
MARK = "the value"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("run") / "run"
    write_synthetic_run(path, phases=6).close()
    return RunDirectory.open_existing(path)


def everywhere(node: Any) -> Any:
    """The same with the mark in place of every number."""
    if isinstance(node, dict):
        return {key: everywhere(value) for key, value in node.items()}
    if isinstance(node, list):
        return [everywhere(value) for value in node]
    return MARK if isinstance(node, int | float) else node


def rewritten(path: Path, value: str) -> str:
    """A manifest with another summary, or a file of other rows: every number in them is the value."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    rows = [{key: item for key, item in json.loads(line).items() if key != "sha256"} for line in lines[:40]]
    return "".join(json.dumps(_other(row)).replace(f'"{MARK}"', value) + "\n" for row in rows)


def _other(row: dict[str, Any]) -> dict[str, Any]:
    if "summary" in row:
        return {**row, "summary": everywhere(row["summary"])}
    return {key: value if key == "step" else everywhere(value) for key, value in row.items()}


def look(run: RunDirectory) -> None:
    """Everything that shows a run without changing it."""
    json.dumps(run_status(run).as_json(), allow_nan=False)
    for phase in run.phases():
        manifest = phase.manifest()
        sent = [summary_values(manifest)] if manifest is not None else []
        sent += [step_values(phase.phase, row, row["step"], 1) for row in phase.metrics()]
        json.dumps(sent, allow_nan=False)
    write_report(run, run.path / "report.html")


def phase_of(run: RunDirectory, name: str) -> PhaseDirectory:
    return next(phase for phase in run.phases() if phase.phase == name and phase.iteration > 0)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: value[:12])
@pytest.mark.parametrize("what", ["labels", "evaluate", "solver", "metrics", "labelled"])
def test_a_value_that_no_phase_writes_is_a_line_or_nothing(run: RunDirectory, what: str, value: str) -> None:
    path = {
        "metrics": phase_of(run, "solver").metrics_path,
        "labelled": phase_of(run, "labels").path / "labelled.jsonl",
    }.get(what) or phase_of(run, what).manifest_path
    text = path.read_text()
    path.write_text(rewritten(path, value))
    try:
        look(run)
    except UserError as error:
        assert str(path) in str(error)
    finally:
        path.write_text(text)
