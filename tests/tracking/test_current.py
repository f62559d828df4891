"""What `status` says of the phase under way, of several benchmarks, and how it looks in narrow terminals."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from rzero_mega.config import load_config
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import Progress, benchmarks_table, iterations_table, write_report
from rzero_mega.tracking.figures import iteration_figures
from rzero_mega.tracking.report import iterations_table as report_iterations_table
from rzero_mega.tracking.report import tiles, verdict
from rzero_mega.tracking.report_data import gather
from rzero_mega.tracking.status import interval_lines, run_status
from rzero_mega.tracking.wandb_rows import summary_values
from tests.tracking.synthetic import write_synthetic_run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with RunDirectory.create_or_open(tmp_path / "run", load_config(["paper", "nano"]), writer=True) as run:
        yield run


def test_a_running_phase_is_named_with_its_step_and_the_time_left(run: RunDirectory) -> None:
    solver = run.phase(1, PhaseName.SOLVER)
    solver.begin({})
    for step in (1, 2, 3):
        solver.log_step(step, {"step_seconds": 20.0})
    steps = run.config.solver.training.steps
    current = run_status(run).current
    assert current is not None and current.left_seconds == 20.0 * (steps - 3)
    assert str(current).startswith(f"iteration 1 · solver · step 3 of {steps} done · about ")
    assert str(current).endswith(" left of the phase")


def test_a_stopped_phase_is_named_with_what_to_do(run: RunDirectory) -> None:
    run.phase(1, PhaseName.QUESTIONS).begin({})
    run.close()
    text = str(run_status(RunDirectory.open_existing(run.path)).current)
    assert text.startswith("iteration 1 · questions · part 0 of ") and text.endswith("the same command goes on")


def test_between_phases_nothing_is_under_way(run: RunDirectory) -> None:
    assert run_status(run).current is None


def finish_evaluations(run: RunDirectory, *names: str) -> None:
    for iteration in (0, 1):
        phase = run.phase(iteration, PhaseName.EVALUATE)
        phase.begin({})
        by_benchmark = {name: {"mean": 0.25 * (iteration + 1), "greedy": 0.5, "problems": 40} for name in names}
        phase.finish({}, {"pass1_mean": 0.25 * (iteration + 1), "by_benchmark": by_benchmark})


def test_several_benchmarks_have_a_table_of_their_own_in_status_and_report(run: RunDirectory, tmp_path: Path) -> None:
    finish_evaluations(run, "large", "small")
    table = benchmarks_table(run_status(run))
    assert table is not None
    assert [list(column.cells) for column in table.columns] == [["large", "small"], ["25.0 %"] * 2, ["50.0 %"] * 2]
    write_report(run, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Accuracy by benchmark" in page and "25.0 % (50.0 %)" in page


def test_one_benchmark_is_the_table_of_iterations(run: RunDirectory, tmp_path: Path) -> None:
    finish_evaluations(run, "large")
    assert benchmarks_table(run_status(run)) is None
    write_report(run, tmp_path / "report.html")
    assert "Accuracy by benchmark" not in (tmp_path / "report.html").read_text()


def test_transfer_has_a_column_a_curve_and_a_key_of_its_own(run: RunDirectory) -> None:
    for iteration, transfer in ((0, 0.25), (1, 0.375)):
        phase = run.phase(iteration, PhaseName.EVALUATE)
        phase.begin({})
        ends = {"transfer": [transfer - 0.125, transfer + 0.125]}
        phase.finish({}, {"pass1_mean": 0.5, "pass1_greedy": 0.75, "transfer": transfer, "intervals": ends})
    status = run_status(run)
    assert interval_lines(status) == ["transfer base 25.0 % [12.5, 37.5] → iteration 1 37.5 % [25.0, 50.0], 95 %"]
    assert [row.transfer for row in status.iterations] == [0.25, 0.375, *[None] * (len(status.iterations) - 2)]
    columns = {str(column.header): list(column.cells)[:2] for column in iterations_table(status, width=120).columns}
    assert (columns["transfer"], columns["mean"]) == (["25.0 %", "37.5 %"], ["50.0 %", "50.0 %"])
    data = gather(run)
    table = report_iterations_table(data)
    assert [row[table.headings.index("transfer")] for row in table.rows][:2] == ["25.0 %", "37.5 %"]
    assert ("Transfer", "37.5 %", "+12.5 points over base") in [(t.name, t.value, t.note) for t in tiles(data)]
    assert "transfer" in [entry.name for entry in iteration_figures(data)[0].legend]
    manifest = run.phase(1, PhaseName.EVALUATE).manifest()
    assert manifest is not None and summary_values(manifest)["eval/transfer"] == 0.375


def test_a_run_without_transfer_has_no_column_for_it(run: RunDirectory) -> None:
    finish_evaluations(run, "large", "small")
    data = gather(run)
    assert "transfer" not in [str(column.header) for column in iterations_table(run_status(run), width=200).columns]
    table = report_iterations_table(data)
    assert "transfer" not in table.headings and {len(row) for row in table.rows} == {len(table.headings)}
    assert "Transfer" not in [tile.name for tile in tiles(data)]


def test_a_report_without_accuracy_says_how_to_have_one(tmp_path: Path) -> None:
    for overrides, words in (("[]", "evaluation.benchmarks=[FILE.jsonl]"), ("[arithmetic]", "with the base yet")):
        config = load_config(["paper", "nano"], [f"evaluation.benchmarks={overrides}"])
        with RunDirectory.create_or_open(tmp_path / overrides, config, writer=True) as run:
            assert words in verdict(gather(run))


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
def test_a_terminal_of_any_width_shows_whole_words(width: int, tmp_path: Path) -> None:
    with write_synthetic_run(tmp_path / "nano-seed0") as run:
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True, width=width, color_system=None, legacy_windows=False)
        console.print(iterations_table(run_status(run), width=width))
        headings = stream.getvalue().splitlines()[2]
        words = [cell.strip() for cell in headings.strip("┃").split("┃")]
        assert set(words) <= {"iteration", "mean", "greedy", "label accuracy", "kept", "flawed", "time"}
        assert {"iteration", "mean"} <= set(words) and (width < 80 or len(words) == 7)
        with Progress("nano · seed 0", 3, console=console) as bars, bars.phase(1, "challenger", 15) as phase:
            phase.advance(7, reward=0.25, uncertain=0.5)
    shown = stream.getvalue()
    assert width < 40 or ("…" not in shown and "7/15" in shown)
