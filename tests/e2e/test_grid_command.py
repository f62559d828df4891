"""`rzero-mega grid`: killed in the middle of a cell, the same command goes on and ends with a table."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml

from tests.e2e.command import TINY, run, start
from tests.processes import eventually

pytestmark = pytest.mark.e2e


def test_a_killed_grid_takes_its_cells_along_and_goes_on_where_they_were(tmp_path: Path) -> None:
    overrides = [*TINY, "learner.processes=1", "ablation=untrained_challenger"]
    file = {"recipe": "nano", "seeds": [0, 1], "overrides": overrides, "arms": {"only": {}}}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(file))
    cells = [tmp_path / "runs" / "two" / f"only-seed{seed}" for seed in (0, 1)]
    process = start(tmp_path, "grid", "two.yaml")
    labels = cells[0] / "iterations" / "1" / "labels" / "manifest.json"
    assert eventually(labels.exists, patience_s=600.0)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    again = run(tmp_path, "grid", "two.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "[1/2] only-seed0 · goes on" in again.stdout and "[2/2] only-seed1 · begins" in again.stdout
    assert "two: 1 arms, 2 of 2 runs finished" in again.stdout
    table = run(tmp_path, "grid", "two.yaml", "--table")
    assert table.stdout and again.stdout.endswith(table.stdout)
    assert all((cell / "report.html").is_file() for cell in cells)

    done = run(tmp_path, "grid", "two.yaml")
    assert done.returncode == 0 and "only-seed" not in done.stdout
