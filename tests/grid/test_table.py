"""The table is over seeds, says how many there are, and compares arms seed by seed."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from rzero_mega.grid.summary import GridSummary, summarized
from rzero_mega.grid.table import as_csv, as_markdown, as_text
from tests.grid.cells import GRID, finish, tiny_grid

# By seed. The two arms rise and fall together: their differences are 0.05, 0.06 and 0.04.
MEANS = {"rzero": (0.40, 0.60, 0.50), "no_filter": (0.45, 0.66, 0.54)}
# t(0.975) with two degrees of freedom.
T2 = 4.302652729911275


def summary(folder: Path, text: str = GRID, missing: tuple[str, ...] = ()) -> GridSummary:
    grid, cells = tiny_grid(folder, text)
    for cell in cells:
        if cell.name not in missing:
            mean = MEANS[cell.arm][cell.seed]
            finish(cell, {"pass1_mean": mean, "pass1_greedy": 0.7, "label_accuracy": 0.9, "kept": 100 + cell.seed})
    return summarized(grid.name, grid.results, cells)


def test_values_are_means_over_seeds_with_student_s_interval(tmp_path: Path) -> None:
    row = summary(tmp_path).arms[0].rows[1]
    estimate = row.values["mean"]
    assert estimate is not None and (row.stage, row.seeds, estimate.items) == ("1", 3, 3)
    assert estimate.value == pytest.approx(0.5)
    assert estimate.high - estimate.value == pytest.approx(T2 * 0.1 / 3**0.5)
    assert row.deltas["mean"] is None  # the first arm is what others are compared with


def test_differences_are_taken_seed_by_seed(tmp_path: Path) -> None:
    delta = summary(tmp_path).arms[1].rows[1].deltas["mean"]
    assert delta is not None and delta.items == 3 and delta.tells_apart
    assert delta.value == pytest.approx(0.05)
    # Of the pairs, whose spread is a tenth of that of either arm.
    assert delta.high - delta.value == pytest.approx(T2 * 0.01 / 3**0.5)


def test_an_arm_of_which_seeds_are_missing_says_so_and_is_compared_over_the_others(tmp_path: Path) -> None:
    arm = summary(tmp_path, missing=("no_filter-seed1",)).arms[1]
    text = as_text(summary(tmp_path, missing=("no_filter-seed1",)))
    assert "no_filter · 2 of 3 seeds finished, 1 not begun" in text
    delta = arm.rows[1].deltas["mean"]
    assert delta is not None and (arm.rows[1].seeds, delta.items) == (2, 2)
    assert delta.value == pytest.approx(0.045)


def test_a_stage_counts_when_all_of_it_is_finished(tmp_path: Path) -> None:
    grid, cells = tiny_grid(tmp_path)
    finish(cells[0], {"pass1_mean": 0.5, "label_accuracy": 0.9}, phases=5)  # all but the last evaluation
    arm = summarized(grid.name, grid.results, cells).arms[0]
    assert [row.stage for row in arm.rows] == ["base"]
    assert as_text(summarized(grid.name, grid.results, cells)).count("1 stopped") == 1


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    one = GRID.replace("[0, 1, 2]", "[0]")
    lines = as_text(summary(tmp_path, one)).splitlines()
    assert [line.split() for line in lines if line.split()[:1] == ["1"]] == [
        ["1", "1", "40.0", "70.0", "90.0", "100"],
        ["1", "1", "45.0", "70.0", "90.0", "100"],
        ["1", "1", "+5.0", "+0.0", "+0.0", "+0"],
    ]


def test_arms_that_are_measured_otherwise_are_not_compared(tmp_path: Path) -> None:
    other = GRID.replace("{ablation: no_filter}", '{overrides: ["evaluation.benchmarks=[arithmetic:3]"]}')
    found = summary(tmp_path, other)
    assert not found.arms[1].comparable and all(not any(row.deltas.values()) for row in found.arms[1].rows)
    assert "evaluated otherwise than rzero, so not compared: no_filter" in as_text(found)


def test_text_marks_differences_that_are_told_apart_and_fits_eighty_columns(tmp_path: Path) -> None:
    text = as_text(summary(tmp_path))
    assert max(map(len, text.splitlines())) <= 80
    table = text.partition("no_filter minus rzero, seed by seed\n")[2].splitlines()
    assert table[0].split("  ")[0] == "iteration"
    assert "+5.0 ±2.5*" in table[2] and "+0.0 ±0.0" in table[2]
    assert "50.0 ±24.8" in text and "101 ±2" in text


def test_markdown_has_a_table_of_values_and_one_of_differences(tmp_path: Path) -> None:
    rows = [line for line in as_markdown(summary(tmp_path)).splitlines() if line.startswith("| ")]
    assert rows[0] == "| arm | iteration | seeds | mean | greedy | label accuracy | kept |"
    assert "| no_filter | 1 | 3 | 55.0 ±26.2 | 70.0 ±0.0 | 90.0 ±0.0 | 101 ±2 |" in rows
    assert "| no_filter minus rzero | 1 | 3 | +5.0 ±2.5* | +0.0 ±0.0 | +0.0 ±0.0 | +0 ±0 |" in rows
    assert {row.count("|") for row in rows} == {8}


def test_csv_has_a_line_per_result_as_fractions(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(summary(tmp_path, missing=("rzero-seed2",))))))
    row = next(row for row in rows if (row["arm"], row["iteration"], row["result"]) == ("no_filter", "1", "mean"))
    assert (row["seeds"], row["delta_seeds"]) == ("3", "2")
    assert float(row["value"]) == pytest.approx(0.55) and float(row["delta"]) == pytest.approx(0.055)
    assert float(row["low"]) < 0.55 < float(row["high"])
    alone = next(row for row in rows if row["arm"] == "rzero")
    assert (alone["delta"], alone["delta_seeds"]) == ("", "")


def test_only_the_results_that_the_file_names_are_in_the_table(tmp_path: Path) -> None:
    text = as_text(summary(tmp_path, GRID.replace("arms:", "results: [greedy]\narms:")))
    assert "greedy" in text and "label accuracy" not in text and "kept" not in text.partition("\n\n")[2]
