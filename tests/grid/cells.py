"""Grids of tiny runs whose phases a test finishes as it likes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rzero_mega.config.kinds import values_of
from rzero_mega.grid.cell import Cell
from rzero_mega.grid.file import Grid, read_grid
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory

GRID = """
name: tiny
recipe: nano
seeds: [0, 1, 2]
overrides: [iterations=1, learner.processes=1, run.minimum_free_mb=0, "evaluation.benchmarks=[arithmetic:2]"]
arms:
  rzero:
  no_filter: {ablation: no_filter}
"""


def grid_file(folder: Path, text: str = GRID) -> str:
    """The path of a grid file with this text."""
    path = folder / "file.yaml"
    path.write_text(text)
    return str(path)


def tiny_grid(folder: Path, text: str = GRID) -> tuple[Grid, list[Cell]]:
    """The grid of the file, and its cells below `folder`/runs."""
    grid = read_grid(grid_file(folder, text))
    return grid, grid.cells(str(folder / "runs"))


def finish(cell: Cell, values: Mapping[str, Any], phases: int | None = None) -> None:
    """Finish the first `phases` phases of the cell, or all: every summary holds the values, by their keys."""
    with RunDirectory.create_or_open(cell.path, cell.config, writer=True) as run:
        for plan in cell.plan()[:phases]:
            phase = run.phase(plan.iteration, PhaseName(plan.name))
            if not phase.manifest_path.is_file():
                phase.begin({}, values_of(cell.config))
                phase.finish({}, {**values, "plan": str(plan)})
