"""The table is over seeds, says how many there are, and compares arms seed by seed."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest

from rzero_mega.grid.results import result_named
from rzero_mega.grid.summary import GridSummary, summarized
from rzero_mega.grid.table import as_csv, as_markdown, as_text
from tests.grid.cells import GRID, finish, tiny_grid

# By seed, after the last iteration. The two arms rise and fall together: their differences are 0.05, 0.06 and 0.04.
MEANS = {"rzero": (0.40, 0.60, 0.50), "no_filter": (0.45, 0.66, 0.54)}
# How much less the base has, whose samples no arm shares with another here.
BELOW = {"rzero": 0.1, "no_filter": 0.2}
# t(0.975) with two degrees of freedom.
T2 = 4.302652729911275


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all runs of the grid, finished."""
    folder = tmp_path_factory.mktemp("made")
    for cell in tiny_grid(folder)[1]:
        mean = MEANS[cell.arm][cell.seed]
        finish(cell, {"pass1_mean": mean - BELOW[cell.arm], "pass1_greedy": 0.6}, phases=1)
        rest = {"label_accuracy": 0.9, "kept": 100 + cell.seed}
        finish(cell, {"pass1_mean": mean, "pass1_greedy": 0.7, **rest})
    return folder / "runs"


@pytest.fixture
def there(made: Path, tmp_path: Path) -> Path:
    """A copy of these runs, which a test may change, below the folder of its grid."""
    shutil.copytree(made, tmp_path / "runs")
    return tmp_path / "runs" / "tiny"


def summary(there: Path, text: str = GRID) -> GridSummary:
    grid, cells = tiny_grid(there.parents[1], text)
    return summarized(grid.name, grid.results, cells)


def test_values_are_means_over_seeds_with_student_s_interval(there: Path) -> None:
    row = summary(there).arms[0].last
    estimate = row.values["mean"]
    assert (row.stage, row.seeds, estimate.items) == ("1", 3, 3)
    assert estimate.value == pytest.approx(0.5)
    assert estimate.high - estimate.value == pytest.approx(T2 * 0.1 / 3**0.5)
    assert row.deltas == {}  # the first arm is what others are compared with


def test_differences_are_taken_seed_by_seed(there: Path) -> None:
    delta = summary(there).arms[1].last.deltas["mean"]
    assert delta.items == 3 and delta.tells_apart
    assert delta.value == pytest.approx(0.05)
    # Of the pairs, whose spread is a tenth of that of either arm.
    assert delta.high - delta.value == pytest.approx(T2 * 0.01 / 3**0.5)


def test_gains_are_over_what_the_first_arm_began_with(there: Path) -> None:
    found = summary(there)
    for arm, gain in zip(found.arms, (0.1, 0.15), strict=True):
        assert arm.last.gains["mean"].value == pytest.approx(gain)
        assert arm.rows[0].gains == {} and arm.rows[0].deltas == {}


def test_an_arm_of_which_seeds_are_missing_says_so_and_is_compared_over_the_others(there: Path) -> None:
    shutil.rmtree(there / "no_filter-seed1")
    found = summary(there)
    assert "no_filter by iteration · 2 of 3 seeds finished, 1 not begun" in as_text(found)
    last = found.arms[1].last
    assert (last.seeds, last.deltas["mean"].items) == (2, 2)
    assert last.deltas["mean"].value == pytest.approx(0.045)


def test_a_stage_counts_when_all_of_it_is_finished(tmp_path: Path) -> None:
    grid, cells = tiny_grid(tmp_path)
    finish(cells[0], {"pass1_mean": 0.5, "label_accuracy": 0.9}, phases=5)  # all but the last evaluation
    found = summarized(grid.name, grid.results, cells)
    assert [row.stage for row in found.arms[0].rows] == ["base"]
    assert found.arms[0].last.seeds == 0
    assert "rzero by iteration · 0 of 3 seeds finished, 1 stopped, 2 not begun" in as_text(found)


def test_nothing_that_has_begun_is_a_table_too(tmp_path: Path) -> None:
    grid, cells = tiny_grid(tmp_path)
    found = summarized(grid.name, grid.results, cells)
    assert "0 of 6 runs finished" in as_text(found) and as_csv(found).count("\n") == 1


def test_one_seed_has_no_interval(there: Path) -> None:
    lines = [line.split() for line in as_text(summary(there, GRID.replace("[0, 1, 2]", "[0]"))).splitlines()]
    assert [line for line in lines if line[:2] == ["rzero", "1"]] == [
        ["rzero", "1", "1", "40.0", "70.0", "90.0", "100"],
        ["rzero", "1", "1", "+10.0", "+10.0"],
    ]
    assert ["no_filter", "1", "1", "+5.0", "+0.0", "+0.0", "+0"] in lines


def test_arms_that_are_measured_otherwise_are_not_compared(there: Path) -> None:
    other = GRID.replace("{ablation: no_filter}", '{overrides: ["evaluation.benchmarks=[arithmetic:3]"]}')
    found = summary(there, other)
    assert not found.arms[1].comparable and not found.arms[1].last.deltas and not found.arms[1].last.gains
    assert "evaluated otherwise than rzero, so not compared: no_filter" in as_text(found)


def test_an_arm_that_starts_from_another_is_compared_after_its_last_iteration_alone(there: Path) -> None:
    text = GRID.replace("  no_filter: {ablation: no_filter}", "  no_filter: {after: rzero, overrides: [iterations=2]}")
    for cell in tiny_grid(there.parents[1], text)[1]:
        if cell.after is not None:
            shutil.rmtree(cell.path)
        finish(cell, {"pass1_mean": MEANS[cell.arm][cell.seed]})
    found = summary(there, text)
    assert [row.versus for row in found.arms[1].rows] == ["", "", "1"]
    assert found.arms[1].last.gains["mean"].value == pytest.approx(0.15)
    shown = as_text(found)
    assert "no_filter by iteration, from rzero 1 · 3 of 3" in shown
    assert "no_filter 2      3  +5.0" in shown and "no_filter over rzero by iteration" not in shown


def test_text_marks_differences_that_are_told_apart_and_fits_eighty_columns(there: Path) -> None:
    text = as_text(summary(there))
    assert max(map(len, text.splitlines())) <= 80
    table = text.partition("no_filter over rzero by iteration\n")[2].splitlines()
    assert table[0].split() == ["iteration", "seeds", "mean", "greedy", "label", "accuracy", "kept"]
    assert table[1].split() == ["1", "3", "+5.0", "±2.5*", "+0.0", "±0.0", "+0.0", "±0.0", "+0", "±0"]
    assert "50.0 ±24.8" in text and "101 ±2" in text


def test_a_table_that_is_too_wide_goes_on_below_with_the_same_rows(there: Path) -> None:
    long = "an_arm_with_a_very_long_name_as_people_give_them"
    for seed in range(3):
        (there / f"no_filter-seed{seed}").rename(there / f"{long}-seed{seed}")
    text = as_text(summary(there, GRID.replace("no_filter:", f"{long}:")))
    after = text.partition("after the last iteration\n")[2].partition("\n\n")[0].splitlines()
    assert max(map(len, after)) <= 80
    assert [line.split()[0] for line in after].count(long) == 3 and len(after) == 3 * 4


def test_markdown_has_the_same_tables(there: Path) -> None:
    text = as_markdown(summary(there))
    assert "| no_filter 1 | 3 | 55.0 ±26.2 | 70.0 ±0.0 | 90.0 ±0.0 | 101 ±2 |" in text
    assert "**no_filter over rzero by iteration**\n\n| iteration | seeds | mean" in text
    assert "| 1 | 3 | +5.0 ±2.5* | +0.0 ±0.0 | +0.0 ±0.0 | +0 ±0 |" in text


def test_csv_has_a_line_per_result_as_fractions(there: Path) -> None:
    shutil.rmtree(there / "rzero-seed2")
    rows = list(csv.DictReader(io.StringIO(as_csv(summary(there)))))
    row = next(row for row in rows if (row["arm"], row["iteration"], row["result"]) == ("no_filter", "1", "mean"))
    assert (row["seeds"], row["delta_pairs"], row["gain_pairs"], row["versus"]) == ("3", "2", "2", "1")
    assert float(row["value"]) == pytest.approx(0.55) and float(row["delta"]) == pytest.approx(0.055)
    assert float(row["low"]) < 0.55 < float(row["high"])
    alone = next(row for row in rows if row["arm"] == "rzero")
    assert (alone["delta"], alone["delta_pairs"], alone["versus"]) == ("", "", "")


def test_only_the_results_that_the_file_names_are_in_the_table(there: Path) -> None:
    text = as_text(summary(there, GRID.replace("arms:", "results: [greedy]\narms:")))
    assert "greedy" in text and "label accuracy" not in text and "kept" not in text.partition("\n\n")[2]


def test_labels_worth_and_gauges_are_results_for_who_names_them(tmp_path: Path) -> None:
    grid, cells = tiny_grid(tmp_path, GRID.replace("arms:", "results: [net corrections, agreement in band]\narms:"))
    for cell in cells:
        finish(cell, {"audit": {"quality": {"net_corrections": -2.5}}, "gauges": {"agreement_in_band": 0.64}})
    text = as_text(summarized(grid.name, grid.results, cells))
    assert "\N{MINUS SIGN}2.5" in text and "64.0" in text and "label accuracy" not in text


def test_figures_of_one_benchmark_are_results_for_who_names_them(tmp_path: Path) -> None:
    grid, cells = tiny_grid(tmp_path, GRID.replace("arms:", 'results: ["greedy of arithmetic:2", mean]\narms:'))
    for cell in cells:
        finish(cell, {"pass1_mean": 0.5, "by_benchmark": {"arithmetic:2": {"greedy": 0.25 + cell.seed / 100}}})
    found = summarized(grid.name, grid.results, cells)
    assert found.arms[0].last.values["greedy of arithmetic:2"].value == pytest.approx(0.26)
    assert found.results == ("greedy of arithmetic:2", "mean")


def test_how_a_critic_orders_a_kind_of_pairs_is_a_result_for_who_names_it() -> None:
    found = result_named("reliability of dropped_word")
    assert (found.phase, found.value({"measured": {"kinds": {"dropped_word": {"share": 0.9}}}})) == ("critic", 0.9)
    assert found.value({"measured": {"kinds": {}}}) is None


def test_what_the_order_of_two_answers_does_to_a_critic_is_a_result_for_who_names_it() -> None:
    summary = {"measured": {"order": {"position_bias": 0.6, "agreement": 0.8}}}
    assert [result_named(name).value(summary) for name in ("position bias", "orders agree")] == [0.6, 0.8]


def test_slopes_are_lines_through_the_iterations_of_each_seed(tmp_path: Path) -> None:
    text = GRID.replace("iterations=1", "iterations=3").replace("arms:", "results: [mean]\nslope: [1, 3]\narms:")
    grid, cells = tiny_grid(tmp_path, text)
    for cell in cells:
        for plans, mean in ((1, 0.9), (6, 0.5), (11, 0.6 + cell.seed / 50), (16, 0.62)):
            finish(cell, {"pass1_mean": mean}, phases=plans)
    found = summarized(grid.name, grid.results, cells, grid.slope)
    estimate = found.arms[0].slopes["mean"]
    # From 0.5 to 0.62 in two steps, whatever lies between; the base is not among them.
    assert (estimate.value, estimate.items) == (pytest.approx(0.06), 3)
    lines = as_text(found).partition("slope per iteration, over iterations 1 to 3\n")[2].splitlines()
    assert lines[1].split() == ["rzero", "3", "+6.00", "±0.00*"]
    shutil.rmtree(cells[0].path)  # rzero, seed 0
    assert summarized(grid.name, grid.results, cells, grid.slope).arms[0].slopes["mean"].items == 2
    assert "slope" not in as_text(summarized(grid.name, grid.results, cells))
