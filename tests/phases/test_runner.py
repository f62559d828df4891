"""Which phases a run goes through, from what, and what it does not do again."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.plan import PhaseInputs, iteration_plan, still_needed
from rzero_mega.coevolution.stretch import Stretch
from rzero_mega.commands.checks import check_run
from rzero_mega.commands.run import plan_text
from rzero_mega.config import Config, load_config
from rzero_mega.config.kinds import values_of
from rzero_mega.config.panel import widened
from rzero_mega.config.steps import phase_steps
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import challenger, evaluate, labels, questions, runner, solver
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.guard import guard_decision
from rzero_mega.phases.retention import finished_phases
from rzero_mega.run import RunDirectory, read_events, run_path
from rzero_mega.run.sealed import read_sealed, write_sealed
from rzero_mega.run.stop import Stopped, StopRequest
from rzero_mega.run.verify import verify_run
from rzero_mega.tracking.gauges import decisions
from rzero_mega.tracking.status import models_line, run_status

MODELS = (PhaseName.CHALLENGER, PhaseName.SOLVER)
PHASES = [name for name in PhaseName if name not in (PhaseName.VERIFIER, PhaseName.CRITIC)]
"""Those of an iteration without a Verifier or a Critic."""
NEWER = ("verifier", "critic", "lora", "adapters")
"""What names of keys and inputs say that a run has never heard of."""

OUTPUTS = {
    PhaseName.CHALLENGER: "model",
    PhaseName.QUESTIONS: "questions",
    PhaseName.LABELS: "dataset",
    PhaseName.SOLVER: "model",
    PhaseName.EVALUATE: "scores",
}


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Phases that leave their output and do no work: which were done, from what kind of inputs."""
    done: list[tuple[str, str]] = []

    def finish(ctx: RunContext, phase: ActivePhase, inputs: PhaseInputs) -> None:
        directory = phase.directory
        done.append((phase.seed_key("x"), type(inputs).__name__))
        output = OUTPUTS[directory.phase]
        (directory.path / output).write_text(f"{directory.iteration} {output}")
        directory.finish({output: Path(output)}, {})

    for module in (challenger, questions, labels, solver, evaluate):
        monkeypatch.setattr(module, "run", finish)
    return done


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    settings = (f"run.root={tmp_path}", "run.minimum_free_mb=0", "tracking.wandb=disabled", "learner.processes=1")
    return lambda *overrides: load_config(["paper", "nano"], [*settings, *overrides])


def names(done: list[tuple[str, str]]) -> list[str]:
    return [key for key, _ in done]


def test_a_run_goes_through_its_plan_and_every_phase_gets_its_inputs(config: Any, done: list[tuple[str, str]]) -> None:
    runner.run_phases(config("iterations=1", "seed=7"), StopRequest())
    assert done == [
        ("7/0/evaluate/x", "EvaluateInputs"),
        ("7/1/challenger/x", "ChallengerInputs"),
        ("7/1/questions/x", "QuestionsInputs"),
        ("7/1/labels/x", "LabelsInputs"),
        ("7/1/solver/x", "SolverInputs"),
        ("7/1/evaluate/x", "EvaluateInputs"),
    ]
    path = run_path(config("iterations=1", "seed=7"))
    assert (path / "report.html").is_file()
    started = [event.fields["phase"] for event in read_events(path / "events.jsonl") if event.event == "phase_started"]
    assert started == ["evaluate", "challenger", "questions", "labels", "solver", "evaluate"]


def test_what_is_finished_is_not_done_again(config: Any, done: list[tuple[str, str]]) -> None:
    runner.run_phases(config("iterations=1"), StopRequest())
    done.clear()
    runner.run_phases(config("iterations=1"), StopRequest())
    assert done == []
    runner.run_phases(config("iterations=2"), StopRequest())
    assert names(done) == [f"0/2/{name}/x" for name in PHASES]


def inputs_of(settings: Config) -> dict[str, Any]:
    """The hashes of what every finished phase was made from."""
    run = RunDirectory.open_existing(run_path(settings))
    return {f"{phase.iteration}/{phase.phase}": phase.manifest().inputs for phase in run.phases()}  # type: ignore[union-attr]


def test_a_run_that_began_before_there_were_verifiers_critics_and_adapters_goes_on_in_the_middle_of_its_labels(
    config: Any, done: list[tuple[str, str]]
) -> None:
    whole, before = config("run.name=whole", "iterations=2"), config("run.name=before", "iterations=2")
    runner.run_phases(whole, StopRequest())
    made_from = [name for inputs in inputs_of(whole).values() for name in inputs]
    assert not any(newer in name for name in made_from for newer in NEWER)
    for stretch in (Stretch(0), Stretch(1, PhaseName.CHALLENGER), Stretch(1, PhaseName.QUESTIONS)):
        runner.run_phases(before, StopRequest(), stretch)
    path = run_path(before)
    with RunDirectory.create_or_open(path, before, writer=True) as run:
        values = {key: value for key, value in values_of(before).items() if not any(newer in key for newer in NEWER)}
        labelling = run.phase(1, PhaseName.LABELS)
        labelling.begin(inputs_of(whole)["1/labels"], values)
        labelling.write_part(0, [])
    info = read_sealed(path / "run.json", "restore it")
    assert "prompts.verifier" not in info["texts"]
    recorded = info["config"]
    del recorded["verifier"], recorded["prompts"]["verifier"], recorded["critic"]
    del recorded["learner"]["lora"], recorded["weights"]["adapters"]
    write_sealed(path / "run.json", info)
    done.clear()
    runner.run_phases(before, StopRequest())
    assert names(done) == [f"0/1/{name}/x" for name in PHASES[2:]] + [f"0/2/{name}/x" for name in PHASES]
    assert inputs_of(before) == inputs_of(whole)
    # The preset has values for a Verifier that the run has never had: nobody looks at them.
    run = RunDirectory.open_existing(path)
    assert before.verifier != Config().verifier and "changed" not in {e.event for e in read_events(run.events_path)}
    assert run_status(run).values == ()
    with pytest.raises(UserError, match=r"verifier\.train: False → True"):
        runner.run_phases(config("run.name=before", "iterations=2", "verifier.train=true"), StopRequest())


def test_one_phase_needs_what_comes_before_it(config: Any, done: list[tuple[str, str]]) -> None:
    with pytest.raises(UserError, match="has no finished output questions; run the phase questions first"):
        runner.run_phases(config(), StopRequest(), Stretch(1, PhaseName.LABELS))
    for name in (PhaseName.CHALLENGER, PhaseName.QUESTIONS, PhaseName.LABELS):
        runner.run_phases(config(), StopRequest(), Stretch(1, name))
    assert names(done) == ["0/1/challenger/x", "0/1/questions/x", "0/1/labels/x"]


def test_a_phase_that_is_not_in_the_plan_is_refused(config: Any, done: list[tuple[str, str]]) -> None:
    for stretch in (Stretch(9, PhaseName.SOLVER), Stretch(0, PhaseName.LABELS), Stretch(9)):
        with pytest.raises(UserError, match=f"{stretch}: not in the plan"):
            runner.run_phases(config(), StopRequest(), stretch)
    assert done == []


def test_an_iteration_is_all_of_its_phases_and_nothing_else(config: Any, done: list[tuple[str, str]]) -> None:
    runner.run_phases(config(), StopRequest(), Stretch(1))
    runner.run_phases(config(), StopRequest(), Stretch(1))
    assert names(done) == [f"0/1/{name}/x" for name in PHASES]
    runner.run_phases(config(), StopRequest(), Stretch(0))
    assert names(done)[5:] == ["0/0/evaluate/x"]


def test_what_a_phase_leaves_in_memory_is_gone_when_the_next_begins(
    config: Any, done: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ring:
        def __init__(self) -> None:
            self.itself = self

    finish, left = challenger.run, list[weakref.ref[Ring]]()

    def work(*arguments: Any) -> None:
        assert not [ring for ring in left if ring() is not None]
        left.append(weakref.ref(Ring()))
        finish(*arguments)

    for module in (challenger, questions, labels):
        monkeypatch.setattr(module, "run", work)
    gc.disable()
    try:
        runner.run_phases(config(), StopRequest(), Stretch(1))
    finally:
        gc.enable()
    assert len(left) == 3


def test_whoever_is_asked_to_stop_between_two_phases_begins_no_other(config: Any, done: list[tuple[str, str]]) -> None:
    class Asked(StopRequest):
        requested = True

    for so_far in range(1, len(PHASES)):
        with pytest.raises(Stopped):
            runner.run_phases(config(), Asked(), Stretch(1))
        assert len(done) == so_far
    runner.run_phases(config(), Asked(), Stretch(1))
    assert names(done) == [f"0/1/{name}/x" for name in PHASES]


def models(run: RunDirectory) -> list[str]:
    return sorted(f"{file.parts[-3]}/{file.parts[-2]}" for file in run.path.glob("iterations/*/*/model"))


def test_old_models_that_nothing_needs_may_be_gone(config: Any, done: list[tuple[str, str]]) -> None:
    runner.run_phases(config("iterations=2"), StopRequest())
    run = RunDirectory.open_existing(run_path(config("iterations=2")))
    for name in (PhaseName.CHALLENGER, PhaseName.SOLVER):
        run.phase(1, name).output("model").unlink()
    done.clear()
    runner.run_phases(config("iterations=2"), StopRequest())
    runner.run_phases(config("iterations=3"), StopRequest())
    assert names(done) == [f"0/3/{name}/x" for name in PHASES]
    assert models_line(run_status(run)) == (
        "models: 4 kept; removed: 1/challenger (not by run.keep_models), 1/solver (not by run.keep_models)"
    )


def test_a_model_that_is_needed_is_missed(config: Any, done: list[tuple[str, str]]) -> None:
    runner.run_phases(config("iterations=1"), StopRequest())
    RunDirectory.open_existing(run_path(config("iterations=1"))).phase(1, PhaseName.SOLVER).output("model").unlink()
    with pytest.raises(UserError, match=r"1/solver/model: is missing"):
        runner.run_phases(config("iterations=2"), StopRequest())


def test_models_are_removed_when_they_are_old_and_nothing_needs_them(config: Any, done: list[tuple[str, str]]) -> None:
    settings = config("iterations=3", "run.keep_models=1")
    for phase in iteration_plan(settings):
        runner.run_phases(settings, StopRequest(), Stretch(phase.iteration, phase.name))
        run = RunDirectory.open_existing(run_path(settings))
        needed = still_needed(iteration_plan(settings), finished_phases(run, iteration_plan(settings)))
        there = models(run)
        wanted = {str(source).removesuffix("/model") for source in needed}
        assert wanted & set(done_models(run)) <= set(there)
    assert models(run) == ["3/challenger", "3/solver"]
    assert verify_run(run).damaged == ()
    runner.run_phases(config("iterations=4", "run.keep_models=2"), StopRequest())
    assert models(run) == ["3/challenger", "3/solver", "4/challenger", "4/solver"]
    assert "removed: 1/challenger, 1/solver, 2/challenger, 2/solver" in str(models_line(run_status(run)))
    removed = [event.fields for event in read_events(run.events_path) if event.event == "model_removed"]
    assert [(row["iteration"], row["phase"]) for row in removed] == [
        (1, "challenger"),
        (1, "solver"),
        (2, "challenger"),
        (2, "solver"),
    ]


def done_models(run: RunDirectory) -> list[str]:
    return [f"{phase.iteration}/{phase.phase}" for phase in run.phases() if phase.manifest() and phase.phase in MODELS]


def test_an_output_that_changed_after_its_phase_is_named(config: Any, done: list[tuple[str, str]]) -> None:
    runner.run_phases(config("iterations=1"), StopRequest())
    run = RunDirectory.open_existing(run_path(config("iterations=1")))
    run.phase(1, PhaseName.QUESTIONS).output("questions").write_text("longer than before")
    with pytest.raises(UserError, match="questions: has changed since it was written"):
        runner.run_phases(config("iterations=1"), StopRequest())


@pytest.fixture
def unsound(done: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Iterations whose gauges are bad: the evaluations of all others find theirs sound."""
    bad: set[int] = set()

    def evaluate_gauges(ctx: RunContext, phase: ActivePhase, inputs: PhaseInputs) -> None:
        directory = phase.directory
        agreement = 0.5 if directory.iteration in bad else 0.9
        summary: dict[str, Any] = {"gauges": Gauges(100, 50, 0.9, agreement, 0.8, 1.0, 0.6).as_json()}
        decision = guard_decision(ctx, directory.iteration, summary)
        assert decision is not None
        (directory.path / "scores").write_text("scores")
        directory.finish({"scores": Path("scores")}, {**summary, "guard": decision.as_json()})

    monkeypatch.setattr(evaluate, "run", evaluate_gauges)
    return bad


def test_after_an_unsound_iteration_the_next_starts_from_the_last_sound_solver(
    config: Any, done: list[tuple[str, str]], unsound: set[int]
) -> None:
    unsound |= {2}
    settings = config("iterations=3", "labels.guard.action=roll_back", "run.keep_models=1")
    runner.run_phases(settings, StopRequest())
    run = RunDirectory.open_existing(run_path(settings))
    inputs = {name: run.phase(3, name).manifest().inputs for name in PHASES}  # type: ignore[union-attr]
    for name in (PhaseName.CHALLENGER, PhaseName.LABELS, PhaseName.SOLVER):
        assert "1/solver/model" in inputs[name] and "2/solver/model" not in inputs[name]
    assert "3/labels: 1/solver/model" in plan_text(settings)
    done.clear()
    # What was decided stays, whatever the guard would say now.
    runner.run_phases(config("iterations=3", "labels.guard.action=warn", "run.keep_models=1"), StopRequest())
    assert done == []


def test_a_widened_panel_votes_from_the_next_iteration_on(
    config: Any, done: list[tuple[str, str]], unsound: set[int]
) -> None:
    unsound |= {2}
    settings = config("iterations=4", "labels.guard={action: widen, panel: {base: 5}}")
    runner.run_phases(settings, StopRequest())
    run = RunDirectory.open_existing(run_path(settings))
    voters = [("base" in run.phase(i, PhaseName.LABELS).manifest().inputs) for i in (2, 3, 4)]  # type: ignore[union-attr]
    assert voters == [False, True, True]
    assert [phase_parts(run, i) for i in (2, 3)] == [1, 2]


def phase_parts(run: RunDirectory, iteration: int) -> int | None:
    """Parts of an iteration's labels, of 300 questions."""
    decision = decisions(run)[iteration - 1]
    return phase_steps(widened(run.config) if decision.widened else run.config, PhaseName.LABELS, 300)


def test_a_run_that_the_guard_ends_says_why_and_what_to_set(
    config: Any, done: list[tuple[str, str]], unsound: set[int]
) -> None:
    unsound |= {1}
    settings = config("iterations=2", "labels.guard.action=stop")
    said = r"ended by labels\.guard after iteration 1: .*; to go on set labels\.guard\.action=warn"
    with pytest.raises(UserError, match=said):
        runner.run_phases(settings, StopRequest())
    assert names(done)[-1] == "0/1/solver/x"
    run = RunDirectory.open_existing(run_path(settings))
    assert run_status(run).state == "halted" and (run.path / "report.html").is_file()
    # As a job of its own, and before anything is started.
    for again in (lambda: runner.run_phases(settings, StopRequest(), Stretch(2)), lambda: check_run(settings)):
        with pytest.raises(UserError, match=said):
            again()
    runner.run_phases(config("iterations=2", "labels.guard.action=warn"), StopRequest())
    assert run_status(RunDirectory.open_existing(run.path)).state == "finished"
