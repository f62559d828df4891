"""Where a run stands: the plan says which phases there are, the run directory what is done of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rzero_mega.config import load_config
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import PhaseDirectory, RunDirectory
from rzero_mega.tracking.label_costs import cost_line
from rzero_mega.tracking.progress import iterations_table
from rzero_mega.tracking.status import RunStatus, interval_lines, planned_steps, rate_lines, run_status


def run_with(path: Path, *overrides: str) -> RunDirectory:
    settings = ["iterations=2", "evaluation.benchmarks=[nano]", *overrides]
    return RunDirectory.create_or_open(path, load_config(overrides=settings), writer=True)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    with run_with(tmp_path / "run", "challenger.train=false") as run:
        yield run


def _finish(phase: PhaseDirectory, **summary: object) -> None:
    phase.begin({})
    output = phase.path / "out.txt"
    output.write_text("content")
    phase.finish({"out": output}, summary)


def states(run: RunDirectory, iteration: int) -> dict[str, str]:
    found = {status.iteration: status for status in run_status(run).iterations}
    return {name: phase.state for name, phase in found[iteration].phases.items()}


def test_status_tells_finished_running_skipped_and_pending_apart(run: RunDirectory) -> None:
    _finish(run.phase(0, PhaseName.EVALUATE), pass1_mean=0.25, pass1_greedy=0.5)
    _finish(run.phase(1, PhaseName.QUESTIONS))
    _finish(run.phase(1, PhaseName.LABELS), label_accuracy=None, kept=120, hacking={"any": 0.5, "closed": 0.25})
    solver = run.phase(1, PhaseName.SOLVER)
    solver.begin({})
    solver.log_step(1, {"loss": 0.1})
    status = run_status(run)
    base, first, second = status.iterations
    assert (status.state, base.pass1_mean, base.pass1_greedy) == ("running", 0.25, 0.5)
    assert (first.kept_questions, first.flawed_questions) == (120, 0.25)
    assert (first.label_accuracy, first.pass1_mean, second.flawed_questions) == (None, None, None)
    assert {name: phase.state for name, phase in first.phases.items()} == {
        "challenger": "skipped",
        "questions": "finished",
        "labels": "finished",
        "solver": "running",
        "evaluate": "pending",
    }
    assert (first.phases[PhaseName.SOLVER].step, first.phases[PhaseName.SOLVER].steps) == (1, 15)
    assert states(run, 2) == {
        "challenger": "skipped",
        "questions": "pending",
        "labels": "pending",
        "solver": "pending",
        "evaluate": "pending",
    }
    assert json.loads(json.dumps(status.as_json()))["iterations"][1]["kept_questions"] == 120
    run.close()
    assert run_status(RunDirectory.open_existing(run.path)).iterations[1].phases[PhaseName.SOLVER].state == "stopped"


def evaluated(run: RunDirectory, *summaries: dict[str, object]) -> RunStatus:
    for iteration, summary in enumerate(summaries):
        _finish(run.phase(iteration, PhaseName.EVALUATE), **summary)
    return run_status(run)


def test_intervals_of_base_and_last_iteration_stand_below_the_table(run: RunDirectory) -> None:
    first: dict[str, object] = {"value": 0.25, "pass1_mean": 0.25, "pass1_greedy": 0.5}
    ends = {"value": [0.2, 0.3], "pass1_mean": [0.2, 0.3], "pass1_greedy": [0.4, 0.6]}
    status = evaluated(run, {**first, "intervals": ends}, {**first, "pass1_greedy": 0.55, "intervals": ends})
    assert interval_lines(status) == [
        "mean   base 25.0 % [20.0, 30.0] → iteration 1 25.0 % [20.0, 30.0], 95 %",
        "greedy base 50.0 % [40.0, 60.0] → iteration 1 55.0 % [40.0, 60.0], 95 %",
    ]
    assert status.as_json()["iterations"][0]["intervals"]["value"] == (0.2, 0.3)
    assert [str(column.header) for column in iterations_table(status).columns][:3] == ["iteration", "mean", "greedy"]


def test_benchmarks_with_protocols_of_their_own_are_told_by_their_scores(run: RunDirectory) -> None:
    # Of two benchmarks one is sampled and one is answered greedily: neither mean nor greedy is of both.
    scores = {"value": 0.3, "pass1_mean": 0.2, "pass1_greedy": 0.4, "intervals": {"value": [0.25, 0.35]}}
    status = evaluated(run, scores)
    assert interval_lines(status) == ["score  base 30.0 % [25.0, 35.0], 95 %"]
    table = iterations_table(status)
    assert [str(column.header) for column in table.columns][:3] == ["iteration", "score", "label accuracy"]
    assert "30.0 %" in table.columns[1].cells


def test_learning_rates_are_told_of_a_role_whose_rate_changes(run: RunDirectory) -> None:
    for iteration, rate in ((1, 1e-4), (2, 5e-5)):
        _finish(run.phase(iteration, PhaseName.CHALLENGER), learning_rate=1e-6)
        _finish(run.phase(iteration, PhaseName.SOLVER), learning_rate=rate)
    status = run_status(run)
    assert rate_lines(status) == ["learning rate of solver: 0.0001 → 5e-05"]
    assert status.as_json()["iterations"][2]["learning_rates"] == {"challenger": 1e-6, "solver": 5e-5}


@pytest.mark.parametrize("intervals", [None, 3, {"value": [1]}, {"value": ["a", 1]}, {"pass1_mean": [None, None]}])
def test_intervals_that_no_phase_writes_are_none(run: RunDirectory, intervals: object) -> None:
    assert interval_lines(evaluated(run, {"value": 0.3, "pass1_mean": 0.3, "intervals": intervals})) == []


def test_a_run_without_benchmarks_and_gauges_skips_evaluation_alone(tmp_path: Path) -> None:
    with run_with(tmp_path / "run", "evaluation.benchmarks=[]", "labels.gauges.questions=0", "iterations=1") as run:
        assert [status.iteration for status in run_status(run).iterations] == [1]
        assert {name for name, state in states(run, 1).items() if state == "skipped"} == {"evaluate"}
        for name in (PhaseName.CHALLENGER, PhaseName.QUESTIONS, PhaseName.LABELS, PhaseName.SOLVER):
            assert run_status(run).state == "running"
            _finish(run.phase(1, name))
        assert run_status(run).state == "finished"


def test_iterations_past_the_plan_are_shown_as_far_as_they_went(tmp_path: Path) -> None:
    with run_with(tmp_path / "run", "evaluation.base_model=false", "iterations=3") as run:
        _finish(run.phase(3, PhaseName.CHALLENGER))
    with run_with(tmp_path / "run", "evaluation.base_model=false", "iterations=1") as run:
        assert [status.iteration for status in run_status(run).iterations] == [1, 3]
        assert set(states(run, 1).values()) == {"pending"}
        assert states(run, 3)["challenger"] == "finished" and states(run, 3)["solver"] == "skipped"


def test_the_parts_of_labels_are_those_of_the_questions_that_are_well_formed(tmp_path: Path) -> None:
    sizes = ("questions.count=100", "questions.per_part=30", "labels.questions_per_part=20")
    with run_with(tmp_path / "run", *sizes) as run:
        shown = run_status(run).iterations[1].phases
        names = (PhaseName.QUESTIONS, PhaseName.LABELS, PhaseName.SOLVER)
        assert [shown[name].steps for name in names] == [4, None, 15]
        assert planned_steps(run, 1, run.phase(1, PhaseName.LABELS).phase) is None
        _finish(run.phase(1, PhaseName.QUESTIONS), well_formed=61)
        assert planned_steps(run, 1, run.phase(1, PhaseName.LABELS).phase) == 4
        assert run_status(run).iterations[1].phases[PhaseName.LABELS].steps == 4
        assert run_status(run).iterations[2].phases[PhaseName.LABELS].steps is None


def test_what_labels_cost_is_one_line_over_all_iterations(run: RunDirectory) -> None:
    solver = {"samples": 900, "tokens": 60_000, "seconds": 30.0, "load_seconds": 2.0}
    base = {"samples": 300, "tokens": 20_000, "seconds": 10.0, "load_seconds": 4.0}
    _finish(run.phase(1, PhaseName.LABELS), costs={"solver": solver, "base": base})
    first = run_status(run).iterations[1].label_costs
    assert cost_line([first]) == (
        "label tokens: 80k in 1 iteration (solver 75 %, base 25 %); 40 s drawing, 6.0 s loading models"
    )
    _finish(run.phase(2, PhaseName.LABELS), costs={"solver": solver})
    both = [iteration.label_costs for iteration in run_status(run).iterations]
    assert cost_line(both) == (
        "label tokens: 140k in 2 iterations (solver 86 %, base 14 %); 1 min 10 s drawing, 8.0 s loading models"
    )
    assert json.loads(json.dumps(run_status(run).as_json()))["iterations"][1]["label_costs"]["base"]["tokens"] == 20_000


@pytest.mark.parametrize("costs", [None, 3, {"solver": 1}, {"solver": {"tokens": "many"}}, {"solver": {"tokens": -1}}])
def test_costs_that_no_phase_writes_are_none(run: RunDirectory, costs: object) -> None:
    _finish(run.phase(1, PhaseName.LABELS), costs=costs)
    assert cost_line([iteration.label_costs for iteration in run_status(run).iterations]) is None
