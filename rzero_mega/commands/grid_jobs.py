"""The command `grid --cluster`: every cell of a grid as a run on Slurm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rzero_mega.cluster.cluster_file import ClusterFile, read_cluster_file
from rzero_mega.cluster.command import print_dry_run
from rzero_mega.cluster.paths import with_absolute_paths
from rzero_mega.cluster.show import submitted_words
from rzero_mega.cluster.submit import submission_of, submit
from rzero_mega.commands.checks import check_run, warn_without_accuracy
from rzero_mega.commands.grid import Selection
from rzero_mega.grid.cell import Cell, State
from rzero_mega.grid.file import read_grid
from rzero_mega.grid.running import checked
from rzero_mega.terminal import say


def submit_cells(file: str, cluster_file: Path, selection: Selection, dry_run: bool) -> None:
    """Submit what the cells still need; of one cell alone, a dry run prints configuration, jobs and scripts."""
    cluster = read_cluster_file(cluster_file)
    grid = read_grid(file)
    # The runs have to lie where all nodes see them.
    cells = [_for_jobs(cell) for cell in grid.cells(str(cluster.runs))]
    checked(cells, lambda cell: _check(cell, cluster))
    warn_without_accuracy(cells[0].config)
    chosen = selection.of(grid, cells)
    if dry_run and len(chosen) == 1:
        print_dry_run(chosen[0].config, cluster)
    elif dry_run:
        _say_each(chosen)
    else:
        _submit(chosen, cluster)


def _for_jobs(cell: Cell) -> Cell:
    return replace(cell, config=with_absolute_paths(cell.config, Path.cwd()))


def _check(cell: Cell, cluster: ClusterFile) -> None:
    check_run(cell.config, as_job=True)
    submission_of(cell.config, cluster)


def _say_each(cells: Sequence[Cell]) -> None:
    for number, cell in enumerate(cells, start=1):
        left, planned = len(cell.unfinished()), len(cell.plan())
        state = f"{cell.state()} · {planned - left} of {planned} phases finished"
        waits = f" · after {cell.after.name}" if cell.after is not None and cell.after.unfinished() else ""
        say(f"[{number}/{len(cells)}] {cell.name} · {state}{waits} · {cell.path}")
    say("--arm and --seed choose one cell, whose jobs and scripts a dry run prints")


def _submit(cells: Sequence[Cell], cluster: ClusterFile) -> None:
    """A cell that starts from another one waits for the end of that one's last job."""
    last: dict[str, str | None] = {}
    for number, cell in enumerate(cells, start=1):
        if cell.state() is State.FINISHED:
            words = State.FINISHED.value
        else:
            done = submit(cell.config, cluster, last.get(cell.after.name) if cell.after is not None else None)
            last[cell.name] = done.last
            words = submitted_words(done)
        say(f"[{number}/{len(cells)}] {cell.name} · {words}")
