"""The gauges of known answers in the evaluate phase, and how the guard ends a run or turns it back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.label_guard import Decision
from rzero_mega.coevolution.plan import BASE, EvaluateInputs, iteration_plan
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import evaluate
from rzero_mega.phases.guard import end_if_stopped
from rzero_mega.phases.retention import remove_old_models
from rzero_mega.run.stop import Stopped, StopRequest
from rzero_mega.tracking import labels_table, write_report
from rzero_mega.tracking.gauges import decisions, halt_of
from rzero_mega.tracking.status import run_status
from tests.phases.scripted import Asked, ScriptedEngine, ScriptedRun, summary

INPUTS = EvaluateInputs(BASE)
SIZES = ("evaluation.benchmarks=[]", "labels.gauges={questions: 2, votes: 2}", "labels.curation={low: 0.5, high: 1.0}")
BAD = Gauges(100, 50, agreement=0.5, agreement_in_band=0.5, greedy_agreement=0.8, entropy=1.0, p_hat=0.6)
GOOD = replace(BAD, agreement_in_band=0.9)


def labelled(text: str, answers: tuple[str, ...], truth: str | None) -> LabelledQuestion:
    vote = Vote(answers[0], 2, len(answers), len(answers), ((answers[0], 2),))
    answered = AnsweredQuestion(WrittenQuestion(text, None), vote, answers, tokens=9)
    return LabelledQuestion(answered, None, truth, None if truth is None else answers[0] == truth)


def answer(prompt: str, index: int) -> str:
    """Samples and greedy answers have the same indices: 1+2 is always 3, 7*8 is 54 at first and then 56."""
    given = {"1+2": ("3", "3.0"), "7*8": ("54", "56")}[prompt.removeprefix("Q:").removesuffix("\nA:")]
    return f"\\boxed{{{given[index]}}}"


def prepared(scripted: Callable[..., ScriptedRun], *overrides: str) -> tuple[ScriptedRun, ScriptedEngine]:
    run = scripted(*SIZES, *overrides)
    left = [
        labelled("1+2", ("3", "3", "4"), "3"),
        labelled(" 1+2", ("3", "3", "4"), "3"),
        labelled("7*8", ("56", "56", "54"), "56"),
        labelled("9-4", ("5", "5", "5"), "5"),
    ]
    run.leave(PhaseName.LABELS, "labelled", left)
    return run, run.script("solver", answer)


def test_gauges_are_read_from_answers_to_the_runs_first_questions(scripted: Callable[..., ScriptedRun]) -> None:
    run, solver = prepared(scripted)
    phase = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, INPUTS)
    keys = [(request.key, request.first_index, request.sampling.temperature) for request in solver.requests]
    assert keys == [(f"0/gauges/{i}", index, t) for i in (0, 1) for index, t in ((0, 1.0), (1, 1.0), (0, 0.0))]
    found = Gauges.from_json(summary(phase)["gauges"])
    # Of two samples that differ the first is the majority: 54, where the base has 56, which is true.
    assert (found.questions, found.in_band, found.agreement, found.greedy_agreement) == (2, 2, 0.5, 1.0)
    assert (found.vote_accuracy, found.greedy_accuracy, found.p_hat) == (0.5, 0.5, 0.75)
    base = Gauges.from_json(summary(phase)["base_gauges"])
    # As many of the base's votes as the Solver has: both are for the majority.
    assert (base.agreement, base.p_hat, base.vote_accuracy, base.greedy_accuracy) == (1.0, 1.0, 1.0, None)


def test_the_same_questions_have_the_same_streams_in_every_iteration(scripted: Callable[..., ScriptedRun]) -> None:
    run, solver = prepared(scripted)
    for iteration in (1, 2):
        evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE, iteration), INPUTS)
    assert solver.requests[:6] == solver.requests[6:]


def test_the_base_is_asked_nothing_besides_the_benchmarks(scripted: Callable[..., ScriptedRun]) -> None:
    run, solver = prepared(scripted)
    phase = run.begin(PhaseName.EVALUATE, 0)
    evaluate.run(run.ctx, phase, INPUTS)
    assert not solver.requests and "gauges" not in summary(phase)


def test_benchmarks_are_asked_as_they_are_without_gauges(scripted: Callable[..., ScriptedRun], tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "1+2", "answer": "3"}\n{"question": "7*8", "answer": "56"}\n')
    # Units of four: the benchmark's six answers and the gauges' six would share one.
    run, solver = prepared(scripted, f"evaluation.benchmarks=['{problems}']", "evaluation.samples=2")
    run.ctx.config.rollout.batch_sequences = 2
    calls: list[int] = []
    generate = solver.generate
    solver.generate = lambda requests: calls.append(len(requests)) or generate(requests)  # type: ignore[method-assign, func-returns-value]
    phase = run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, INPUTS)
    assert calls == [4, 2, 4, 2]
    assert summary(phase)["pass1_greedy"] == 0.5 and summary(phase)["problems"] == 2
    assert (phase.directory.path / "predictions.jsonl").read_text().count("\n") == 6


def test_gauges_go_on_where_a_stop_left_them(scripted: Callable[..., ScriptedRun]) -> None:
    run, solver = prepared(scripted)
    run.ctx.config.rollout.batch_sequences = 1
    run.ctx.stop = Asked()
    with pytest.raises(Stopped):
        evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE), INPUTS)
    assert len(solver.requests) == 2
    run.ctx.stop, phase = StopRequest(), run.begin(PhaseName.EVALUATE)
    evaluate.run(run.ctx, phase, INPUTS)
    assert len(solver.requests) == 6 and Gauges.from_json(summary(phase)["gauges"]).agreement == 0.5


def evaluated(run: ScriptedRun, iteration: int, gauges: Gauges, **more: Any) -> None:
    """Leave an evaluation with these gauges behind."""
    directory = run.directory.phase(iteration, PhaseName.EVALUATE)
    directory.begin({})
    directory.finish({}, {"gauges": gauges.as_json(), **more})


def test_the_guards_decision_stands_in_the_manifest_and_in_the_log(
    scripted: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = prepared(scripted, "labels.guard.action=roll_back")
    evaluated(run, 1, GOOD)
    monkeypatch.setattr(evaluate, "read_gauges", lambda *_: {"gauges": BAD.as_json()})
    phase = run.begin(PhaseName.EVALUATE, 2)
    with caplog.at_level(logging.WARNING, "rzero_mega"):
        evaluate.run(run.ctx, phase, INPUTS)
    decision = Decision.from_json(summary(phase)["guard"])
    assert (decision.start, decision.sound) == (1, False) and decisions(run.directory) == {2: decision}
    assert "iteration 2 is not sound" in caplog.text and "the next iteration starts from S_1" in caplog.text


def test_a_run_that_the_guard_has_ended_goes_on_when_it_is_told_to(scripted: Callable[..., ScriptedRun]) -> None:
    run, _ = prepared(scripted, "labels.guard.action=stop", "iterations=3")
    evaluated(run, 1, GOOD)
    evaluated(run, 2, BAD)
    plan = iteration_plan(run.ctx.config)
    redone = next(phase for phase in plan if (phase.iteration, phase.name) == (2, PhaseName.SOLVER))
    following = next(phase for phase in plan if phase.iteration == 3)
    end_if_stopped(run.ctx, redone)
    with pytest.raises(UserError, match=r"ended by labels\.guard after iteration 2: agreement in band 50\.0 % < least"):
        end_if_stopped(run.ctx, following)
    run.directory.close()
    assert run_status(run.directory).state == "halted" and (run.directory.path / "report.html").is_file()
    guard = run.ctx.config.labels.guard
    for way in ({"action": "warn"}, {"least_agreement": 0.5}):
        goes_on = replace(run.ctx.config, labels=replace(run.ctx.config.labels, guard=replace(guard, **way)))
        assert halt_of(run.directory, goes_on) is None


def test_the_end_of_the_last_iteration_is_no_halt(scripted: Callable[..., ScriptedRun]) -> None:
    run, _ = prepared(scripted, "labels.guard.action=stop", "iterations=2")
    evaluated(run, 2, BAD)
    assert halt_of(run.directory, run.ctx.config) is None


@pytest.mark.parametrize(
    ("action", "earlier", "sound", "kept"),
    [
        ("roll_back", 0, 1, [1, 3]),
        ("roll_back", 1, 2, [1, 2, 3]),  # S_1 would vote beside S_2
        ("warn", 0, 1, [3]),
        ("warn", 1, 2, [2, 3]),
    ],
)
def test_the_models_that_a_run_may_go_back_to_stay(
    action: str, earlier: int, sound: int, kept: list[int], scripted: Callable[..., ScriptedRun]
) -> None:
    panel = f"labels.panel.earlier={earlier}"
    settings = (f"labels.guard.action={action}", panel, "iterations=4", "challenger.train=false")
    run, _ = prepared(scripted, *settings)
    for plan in iteration_plan(run.ctx.config):
        directory = run.directory.phase(plan.iteration, plan.name)
        if plan.iteration == 4 or directory.manifest() is not None or (plan.iteration, plan.name) == (3, "evaluate"):
            continue
        if plan.name is PhaseName.EVALUATE:
            evaluated(run, plan.iteration, GOOD if plan.iteration <= sound else BAD)
            continue
        directory.begin({})
        (directory.path / "model").write_text("weights")
        directory.finish({"model": Path("model")}, {})
    remove_old_models(run.directory, iteration_plan(run.ctx.config, decisions(run.directory)), keep=1)
    there = [i for i in (1, 2, 3) if (run.directory.phase(i, PhaseName.SOLVER).path / "model").exists()]
    assert there == kept


def test_a_run_without_benchmarks_is_reported_with_its_gauges_alone(scripted: Callable[..., ScriptedRun]) -> None:
    run, _ = prepared(scripted, "iterations=1")
    evaluate.run(run.ctx, run.begin(PhaseName.EVALUATE), INPUTS)
    write_report(run.directory, run.directory.path / "report.html")
    page = (run.directory.path / "report.html").read_text()
    assert "Do the labels hold?" in page and "no accuracy, since evaluation.benchmarks is empty" in page
    assert "<h2>Results</h2>" not in page and labels_table(run_status(run.directory)) is not None
