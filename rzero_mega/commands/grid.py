"""The command `grid`: the cells of a grid one after the other, or as jobs, and the table of what they brought."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.cluster.cluster_file import read_cluster_file
from rzero_mega.commands.checks import check_run, warn_without_accuracy
from rzero_mega.errors import UserError
from rzero_mega.grid.cell import Cell, State
from rzero_mega.grid.file import Grid, read_grid
from rzero_mega.grid.progress import GridProgress
from rzero_mega.grid.running import Outcome, checked, run_cells
from rzero_mega.run.stop import StopRequest
from rzero_mega.terminal import in_one_line, say

FORMS = ("text", "markdown", "csv")


@dataclass(frozen=True)
class Selection:
    """Which cells of a grid a command is about: those of some arms and seeds, or of all where none is named."""

    arms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()

    def of(self, grid: Grid, cells: Sequence[Cell]) -> list[Cell]:
        """The cells, in order; UserError for an arm or a seed that the grid does not have."""
        for arm in self.arms:
            if arm not in grid.arms:
                raise UserError(f"--arm {arm}: {grid.source} has no such arm; it has {', '.join(grid.arms)}")
        for seed in self.seeds:
            if seed not in grid.seeds:
                raise UserError(f"--seed {seed}: {grid.source} has the seeds {', '.join(map(str, grid.seeds))}")
        arms, seeds = self.arms or tuple(grid.arms), self.seeds or grid.seeds
        return [cell for cell in cells if cell.arm in arms and cell.seed in seeds]


def check_form(form: str) -> None:
    """UserError for a form that no table has."""
    if form not in FORMS:
        raise UserError(f"--format {form}: is none of {', '.join(FORMS)}")


def root_of(root: Path | None, cluster: Path | None) -> str:
    """The folder below which the grid has its own. UserError for one beside a cluster, whose file says it."""
    if cluster is None:
        return str(root or "runs")
    if root is not None:
        raise UserError(f"--root {root}: the root in {cluster} says where runs on the cluster lie; leave it out")
    return str(read_cluster_file(cluster).runs)


def table(file: str, root: str, selection: Selection, form: str) -> str:
    """The table of what lies there, in a form of `check_form`."""
    grid = read_grid(file)
    cells = selection.of(grid, grid.cells(root))
    checked(cells, lambda _cell: None)
    return _table(grid, cells, form)


def _table(grid: Grid, cells: Sequence[Cell], form: str) -> str:
    # They bring scipy.
    from rzero_mega.grid.summary import summarized
    from rzero_mega.grid.table import as_csv, as_markdown, as_text

    summary = summarized(grid.name, grid.results, cells, grid.slope)
    return {"text": as_text, "markdown": as_markdown, "csv": as_csv}[form](summary)


def dry_run(file: str, root: str, selection: Selection) -> str:
    """Check everything; every cell with its state and its command."""
    cells = _checked_cells(read_grid(file), root, selection)
    lines = []
    for number, cell in enumerate(cells, start=1):
        left, planned = len(cell.unfinished()), len(cell.plan())
        state = f"{cell.state()} · {planned - left} of {planned} phases finished"
        lines += [f"[{number}/{len(cells)}] {cell.name} · {state}", f"    rzero-mega run {shlex.join(cell.arguments)}"]
    return "\n".join(lines)


def run_here(file: str, root: str, selection: Selection, at_once: int, form: str) -> int:
    """Run the cells that are not finished, then print the table; returns the exit code, 1 if any is left."""
    grid = read_grid(file)
    cells = _checked_cells(grid, root, selection)
    with GridProgress(grid.name, cells, at_once) as progress:
        outcome = run_cells(cells, at_once, StopRequest(), progress)
    say()
    say(_table(grid, cells, form), end="")
    _tell(outcome)
    return 0 if all(cell.state() is State.FINISHED for cell in cells) else 1


def _checked_cells(grid: Grid, root: str, selection: Selection) -> list[Cell]:
    """The cells that are wanted; UserError for the first that cannot work, before anything starts."""
    cells = grid.cells(root)
    # Who runs a cell elsewhere has its lock.
    checked(cells, lambda cell: check_run(cell.config, as_job=cell.is_running()))
    warn_without_accuracy(cells[0].config)
    return selection.of(grid, cells)


def _tell(outcome: Outcome) -> None:
    for name, line in outcome.failed.items():
        say(f"rzero-mega: {name} failed: {in_one_line(line)}", error=True)
    for name, holder in outcome.elsewhere.items():
        say(f"rzero-mega: {name} is being run by {holder}", error=True)
    for name, source in outcome.missing.items():
        say(f"rzero-mega: {name} starts from {source}, which is not finished", error=True)
