"""Cells are run in order, a failed one keeps no other from it, and what others are at work on is passed over."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from rzero_mega.recipes import load_recipe

from rzero_mega.commands.grid import Selection
from rzero_mega.config import with_overrides
from rzero_mega.errors import UserError
from rzero_mega.grid import children
from rzero_mega.grid.cell import Cell, State
from rzero_mega.grid.pace import Pace, total
from rzero_mega.grid.progress import GridProgress
from rzero_mega.grid.running import Outcome, run_cells
from rzero_mega.run.lock import RunLock
from rzero_mega.run.stop import Stopped, StopRequest
from rzero_mega.terminal import new_console
from tests.grid.cells import GRID, finish, tiny_grid


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    return tiny_grid(tmp_path)[1]


@dataclass
class Commands:
    """What the commands of cells do, by the cell's name, as Python: fail, wait; all others finish their cell.

    What is tested is who runs when, not what a run does: the finished run is made beforehand, and put into its place.
    """

    folder: Path
    scripts: dict[str, str] = field(default_factory=dict)

    def finishes(self, cell: Cell) -> str:
        """A script that finishes the cell."""
        made = replace(cell, config=with_overrides(cell.config, [f"run.root={self.folder}"]))
        finish(made, {})
        there, here = str(made.path), str(cell.path)
        return f"import os, shutil; shutil.rmtree({here!r}, ignore_errors=True); os.rename({there!r}, {here!r})"

    def command(self, _module: str, *arguments: str) -> list[str]:
        """In place of the command that runs a cell."""
        config = load_recipe(arguments[1], arguments[2:])
        cell = Cell("", config.seed, arguments[1:], config)
        script = self.scripts.get(cell.path.name) or self.finishes(cell)
        return [sys.executable, "-I", "-S", "-c", script]


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    commands = Commands(tmp_path / "made")
    monkeypatch.setattr(children, "module_command", commands.command)
    return commands.scripts


def run(cells: Sequence[Cell], at_once: int = 1, stop: StopRequest | None = None) -> Outcome:
    with GridProgress("tiny", cells, at_once, new_console(width=200)) as progress:
        return run_cells(cells, at_once, stop or StopRequest(), progress)


def test_a_failed_cell_is_told_with_its_line_and_the_rest_goes_on(
    cells: list[Cell], does: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    does["no_filter-seed0"] = "raise SystemExit('rzero-mega: model.path: is not there\\n')"
    does["rzero-seed1"] = "raise SystemExit(3)"
    assert run(cells[:4]).failed == {
        "no_filter-seed0": "model.path: is not there",
        "rzero-seed1": "ended with code 3 without a word",
    }
    assert [cell.state() for cell in cells[:4]] == [State.FINISHED, State.PENDING, State.PENDING, State.FINISHED]
    told = capsys.readouterr().out.splitlines()
    assert "[2/4] no_filter-seed0 · failed: model.path: is not there" in told
    assert [line.split()[1] for line in told if "begins" in line] == [cell.name for cell in cells[:4]]


def test_a_finished_cell_is_not_run_again_and_a_begun_one_goes_on(
    cells: list[Cell], does: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    does["rzero-seed0"] = "raise SystemExit('was run again')"
    finish(cells[0], {})
    finish(cells[1], {}, phases=2)
    assert run(cells[:2]) == Outcome()
    assert cells[1].state() is State.FINISHED
    told = capsys.readouterr().out
    assert "rzero-seed0" not in told and "no_filter-seed0 · goes on" in told


def test_a_cell_that_another_process_has_is_passed_over_and_taken_up_when_it_is_free(
    cells: list[Cell], does: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    cells[0].path.mkdir(parents=True)
    lock = RunLock(cells[0].path / ".lock")
    assert list(run(cells[:2]).elsewhere) == ["rzero-seed0"]
    assert f"rzero-seed0 · is being run by process {os.getpid()}" in capsys.readouterr().out
    assert cells[1].state() is State.FINISHED
    lock.release()
    assert run(cells[:2]) == Outcome()
    assert cells[0].state() is State.FINISHED


def test_a_cell_waits_for_the_one_that_it_starts_from_and_is_named_if_that_fails(
    tmp_path: Path, does: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    does["rzero-seed1"] = "raise SystemExit('lost')"
    grid = GRID.replace("[0, 1, 2]", "[0, 1]") + "  more: {after: rzero}\n"
    cells = tiny_grid(tmp_path, grid)[1]
    outcome = run(list(reversed(cells)), at_once=3)
    assert (outcome.failed, outcome.missing) == ({"rzero-seed1": "lost"}, {"more-seed1": "rzero-seed1"})
    told = capsys.readouterr().out
    assert told.index("rzero-seed0 · begins") < told.index("more-seed0 · begins")
    assert run([cell for cell in cells if cell.arm == "more"]).missing == {"more-seed1": "rzero-seed1"}


def test_so_many_cells_are_at_work_at_a_time(cells: list[Cell], does: dict[str, str], tmp_path: Path) -> None:
    # Each waits for the other: one after the other they would fail.
    for name, other in (("rzero-seed0", "no_filter-seed0"), ("no_filter-seed0", "rzero-seed0")):
        wait = f"import pathlib, time\n(pathlib.Path({str(tmp_path)!r}) / {name!r}).touch()\nend = time.time() + 60\n"
        wait += f"while not (pathlib.Path({str(tmp_path)!r}) / {other!r}).exists():\n    time.sleep(0.05)\n"
        does[name] = wait + "    if time.time() > end: raise SystemExit('alone')\nraise SystemExit('together')"
    assert run(cells[:2], at_once=2).failed == {"rzero-seed0": "together", "no_filter-seed0": "together"}


def test_an_interruption_ends_the_cells_at_work_in_their_own_way(
    cells: list[Cell], does: dict[str, str], tmp_path: Path
) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    does["rzero-seed0"] = (
        f"import pathlib, signal, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(ended)!r}).touch(), exit(130)))\n"
        f"pathlib.Path({str(begun)!r}).touch()\ntime.sleep(60)"
    )

    class Interrupted(StopRequest):
        def take(self) -> bool:
            if begun.exists():
                raise KeyboardInterrupt
            return False

    with pytest.raises(KeyboardInterrupt):
        run(cells[:2], stop=Interrupted())
    assert ended.exists()
    assert cells[1].state() is State.PENDING


def test_a_request_to_stop_is_passed_on_and_nothing_more_is_started(
    cells: list[Cell], does: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = tmp_path / "begun"
    does["rzero-seed0"] = (
        "import pathlib, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        f"pathlib.Path({str(begun)!r}).touch()\nsignal.sigtimedwait({{signal.SIGUSR1}}, 60)\nraise SystemExit(75)"
    )

    class Begun(StopRequest):
        def take(self) -> bool:
            return begun.exists()

    with pytest.raises(Stopped, match="the same command goes on"):
        run(cells[:2], stop=Begun())
    assert "rzero-seed0 · stopped" in capsys.readouterr().out
    assert cells[1].state() is State.PENDING


def test_what_is_left_is_told_by_what_phases_took(cells: list[Cell]) -> None:
    pace = Pace()
    for cell in cells[:2]:
        pace.look(cell)
    assert pace.left(cells[0], running=False) is None
    finish(cells[0], {})
    for cell in cells[:2]:
        pace.look(cell)
    spent = pace.spent(cells[0])
    assert pace.left(cells[0], running=False) == 0
    # The base's evaluation and the last one are of one kind, so that their mean counts twice.
    assert pace.left(cells[1], running=False) == pytest.approx(spent)
    assert total([3.0, 4.0, 5.0], at_once=2) == 6.0 and total([9.0, 1.0], at_once=2) == 9.0
    assert total([1.0, None], at_once=1) is None and total([], at_once=1) == 0.0


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        (Selection(), 6),
        (Selection(arms=("no_filter",)), 3),
        (Selection(seeds=(1,)), 2),
        (Selection(("rzero",), (0, 2)), 2),
    ],
)
def test_cells_are_chosen_by_arm_and_seed(tmp_path: Path, selection: Selection, names: int) -> None:
    grid, cells = tiny_grid(tmp_path)
    assert len(selection.of(grid, cells)) == names


@pytest.mark.parametrize("selection", [Selection(arms=("x",)), Selection(seeds=(9,))])
def test_an_arm_or_seed_that_a_grid_does_not_have_is_named(tmp_path: Path, selection: Selection) -> None:
    with pytest.raises(UserError, match=r"has no such arm; it has rzero|has the seeds 0, 1, 2"):
        selection.of(*tiny_grid(tmp_path))
