"""A grid file says which runs there are, and whatever is wrong with it is one line before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from rzero_mega.recipes import grid_names

from rzero_mega.errors import UserError
from rzero_mega.grid.cell import State
from rzero_mega.grid.file import read_grid
from tests.grid.cells import GRID, finish, grid_file, tiny_grid


def test_cells_come_seed_by_seed_so_that_all_arms_are_complete_early(tmp_path: Path) -> None:
    grid, cells = tiny_grid(tmp_path)
    names = ["rzero-seed0", "no_filter-seed0", "rzero-seed1", "no_filter-seed1", "rzero-seed2", "no_filter-seed2"]
    assert [cell.name for cell in cells] == names
    assert cells[3].path == tmp_path / "runs" / "tiny" / "no_filter-seed1"
    assert (cells[3].config.seed, cells[3].config.ablation, cells[3].config.labels.curation.low) == (1, "no_filter", 0)
    assert all(cell.config.iterations == 1 for cell in cells)
    assert grid.recipe == "nano"


def test_an_arm_has_its_own_recipe_and_its_overrides_go_over_those_of_all(tmp_path: Path) -> None:
    text = GRID + "  other: {recipe: smollm2, overrides: [iterations=4]}\n"
    config = tiny_grid(tmp_path, text)[1][2].config
    assert (config.recipe, config.iterations, config.learner.processes) == ("smollm2", 4, 1)


def test_an_arm_may_start_from_the_last_solver_of_another_under_the_same_seed(tmp_path: Path) -> None:
    _, cells = tiny_grid(tmp_path, GRID + "  more: {after: rzero, overrides: [iterations=2]}\n")
    more = cells[5]
    assert (more.name, more.after) == ("more-seed1", cells[3])
    assert more.config.model.path == str(tmp_path / "runs/tiny/rzero-seed1/iterations/1/solver/model")
    assert not more.is_ready()
    finish(cells[3], {})
    assert more.is_ready()


def test_a_file_without_a_name_gives_its_own(tmp_path: Path) -> None:
    assert read_grid(grid_file(tmp_path, GRID.replace("name: tiny\n", ""))).name == "file"


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("seeds:", "sedes:", "sedes: no such key"),
        ("seeds: [0, 1, 2]", "", "seeds: is missing, for instance"),
        ("[0, 1, 2]", "[0, 1, 0]", "seeds: 0 stands there twice"),
        ("[0, 1, 2]", "[0, x]", "'x' is not a whole number"),
        ("[0, 1, 2]", "[-1]", "arm rzero: seed: "),
        ("recipe: nano", "", "arm rzero: recipe: is missing"),
        ("recipe: nano", "recipe: nanno", "arm rzero: nanno: "),
        ("name: tiny", "name: ../tiny", "name: '../tiny' is not a folder's name"),
        ("name: tiny", "name: tiny\nname: tiny", "appears a second time"),
        ("name: tiny", "name: !!int tiny", "means nothing here"),
        ("iterations=1", "iteration=1", "arm rzero: iteration: no such key"),
        ("iterations=1", "iterations=one", "arm rzero: iterations: 'one' is not a whole number"),
        ("iterations=1", "seed=3", "overrides: seed=3: is what the grid gives each of its runs"),
        ("{ablation: no_filter}", "{overrides: [run.name=x]}", "arm no_filter: overrides: run.name=x: is what"),
        ("{ablation: no_filter}", "{ablation: no_filters}", "arm no_filter: ablation: 'no_filters' is not one of"),
        ("{ablation: no_filter}", "{ablations: no_filter}", "ablations: no such key (in arm no_filter"),
        ("{ablation: no_filter}", "{overrides: [iterations=1]}", "arms rzero and no_filter are the same"),
        (
            "{ablation: no_filter}",
            "{after: rzeros}",
            "arm no_filter: after: 'rzeros' is no arm above it; there are rzero",
        ),
        (
            "rzero:\n",
            "rzero: {after: no_filter}\n",
            "arm rzero: after: 'no_filter' is no arm above it; it is the first",
        ),
        ("{ablation: no_filter}", "{after: rzero, overrides: [model.path=x]}", "model.path: is the Solver of rzero"),
        ("  no_filter:", "  no/filter:", "arms: 'no/filter' is not a folder's name"),
        ("arms:\n", "results: [greed]\narms:\n", "results: 'greed' is no result; did you mean greedy?"),
        (
            "arms:\n",
            "results: [greedy of svamp]\narms:\n",
            "'greedy of svamp': arm rzero asks arithmetic:2 (evaluation.",
        ),
        ("arms:\n", "results: [most of svamp]\narms:\n", "'most of svamp' is no result"),
        ("arms:\n", "slope: [5]\narms:\n", "slope: [5] is not a first and a later iteration"),
        ("arms:\n", "slope: [5, 5]\narms:\n", "slope: [5, 5] is not a first and a later iteration"),
        ("arms:\n  rzero:\n  no_filter: {ablation: no_filter}\n", "", "arms: has to be a mapping"),
        ("arms:\n  rzero:\n", "arms: [rzero]\nmore:\n", "arms: has to be a mapping"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line_that_names_it(tmp_path: Path, old: str, new: str, error: str) -> None:
    assert old in GRID
    with pytest.raises(UserError) as raised:
        tiny_grid(tmp_path, GRID.replace(old, new, 1))
    assert error in str(raised.value) and "\n" not in str(raised.value)
    assert "file.yaml" in str(raised.value)


@pytest.mark.parametrize("name", ["nano_ablation", "missing.yaml", "."])
def test_a_grid_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UserError, match=r"no such grid or YAML file; .*nano_ablations"):
        read_grid(name)


@pytest.mark.parametrize("name", grid_names())
def test_every_grid_that_is_shipped_resolves(name: str) -> None:
    grid = read_grid(name)
    cells = grid.cells("runs")
    assert grid.name == name
    assert len(cells) == len(grid.seeds) * len(grid.arms)
    assert all(cell.state() is State.PENDING for cell in cells)


def test_a_cell_is_not_finished_under_values_that_its_arm_no_longer_has(tmp_path: Path) -> None:
    _, cells = tiny_grid(tmp_path)
    finish(cells[0], {}, phases=5)
    cells[0].check_values()
    longer = GRID.replace("iterations=1", "iterations=1, solver.training.steps=7")
    with pytest.raises(UserError, match=r"rzero-seed0: solver.training.steps: 7 now; 1/solver had 20; give the arm"):
        tiny_grid(tmp_path, longer)[1][0].check_values()
    tiny_grid(tmp_path, longer)[1][1].check_values()  # which has not begun


def test_more_iterations_go_on_with_cells_that_were_finished(tmp_path: Path) -> None:
    finish(tiny_grid(tmp_path)[1][0], {})
    assert tiny_grid(tmp_path)[1][0].state() is State.FINISHED
    cell = tiny_grid(tmp_path, GRID.replace("iterations=1", "iterations=2"))[1][0]
    cell.check_values()
    assert cell.state() is State.STOPPED
    assert [plan.iteration for plan in cell.unfinished()] == [2] * 5
