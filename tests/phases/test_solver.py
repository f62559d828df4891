"""The Solver's batches go over the data set in order, and its rewards are the grader's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rzero_mega.coevolution.plan import (
    BASE,
    EarlierDataSets,
    SolverInputs,
    Source,
    further_questions,
    solver_batch,
)
from rzero_mega.coevolution.records import TrainingQuestion
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import solver
from rzero_mega.phases.prefetcher import Rollouts
from rzero_mega.phases.start import Start
from tests.phases.scripted import CUT_OFF, ScriptedEngine, ScriptedRun
from tests.phases.training import RolloutsOnly

DATASET = Source(1, PhaseName.LABELS, "dataset")
INPUTS = SolverInputs(BASE, DATASET)
SIZES = (
    "solver.training.prompts_per_step=2",
    "solver.training.rollouts_per_prompt=4",
    "solver.training.grpo.sequences_per_update=8",
)
QUESTIONS = [TrainingQuestion(f"{n}+{n}", str(2 * n)) for n in range(1, 6)] + [TrainingQuestion("12*12+12", "156")]


def answer(prompt: str, index: int) -> str:
    """Right in another form, wrong, right but cut off, right."""
    label = next(item.answer for item in QUESTIONS if item.question in prompt)
    return (f"\\boxed{{{label}.0}}", "\\boxed{-1}", f"\\boxed{{{label}}}{CUT_OFF}", f"\\boxed{{{label}}}")[index]


@pytest.fixture
def train(scripted: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def train(*overrides: str, steps: int = 1) -> tuple[ScriptedEngine, RolloutsOnly]:
        run = scripted(*SIZES, *overrides)
        run.leave(PhaseName.LABELS, "dataset", QUESTIONS)
        training = RolloutsOnly(run.script("solver", answer), steps)
        monkeypatch.setattr(solver, "train_policy", training)
        solver.run(run.ctx, run.begin(PhaseName.SOLVER), INPUTS)
        return training.engine, training

    return train


def test_batches_go_over_the_data_set_in_the_order_of_the_seed(train: Callable[..., Any]) -> None:
    engine, _ = train("seed=5", steps=4)
    order = derive_seed("5/1/solver/order")
    batches = [solver_batch(len(QUESTIONS), step, 2, order) for step in range(1, 5)]
    assert engine.prompts == [f"Q:{QUESTIONS[item].question}\nA:" for batch in batches for item in batch]
    assert {item for batch in batches[:3] for item in batch} == set(range(6))
    assert [request.key for request in engine.requests[:3]] == ["5/1/solver/1/0", "5/1/solver/1/1", "5/1/solver/2/0"]


def test_rewards_are_the_grader_s(train: Callable[..., Any]) -> None:
    _, training = train("solver.reward.format_weight=0", "solver.reward.accuracy_weight=1")
    (rollouts,) = training.drawn
    assert rollouts.rewards == [1.0, 0.0, 0.0, 1.0] * 2
    assert rollouts.metrics == {"accuracy_to_label": 0.5}
    assert [(sample.key, sample.index) for sample in rollouts.samples] == [
        (f"0/1/solver/1/{prompt}", index) for prompt in range(2) for index in range(4)
    ]


def test_weights_of_questions_are_those_of_all_their_rollouts(
    scripted: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scripted(*SIZES)
    weighted = [replace(item, weight=number / 10) for number, item in enumerate(QUESTIONS)]
    run.leave(PhaseName.LABELS, "dataset", weighted)
    training = RolloutsOnly(run.script("solver", answer), steps=1)
    monkeypatch.setattr(solver, "train_policy", training)
    solver.run(run.ctx, run.begin(PhaseName.SOLVER), INPUTS)
    (rollouts,) = training.drawn
    batch = solver_batch(len(QUESTIONS), 1, 2, derive_seed("0/1/solver/order"))
    assert rollouts.scales == [number / 10 for number in batch for _ in range(4)]
    assert rollouts.metrics["label_weight"] == pytest.approx(sum(batch) / 20)


def test_without_weights_nothing_is_scaled(train: Callable[..., Any]) -> None:
    _, training = train()
    assert training.drawn[0].scales is None


def test_the_solver_is_what_is_trained_on_prompts_as_long_as_its_questions(train: Callable[..., Any]) -> None:
    _, training = train()
    _, _, role, start, _, longest_prompt = training.arguments
    assert (role, start, longest_prompt) == ("solver", Start(BASE), len("Q:12*12+12\nA:"))


def accumulating(scripted: Callable[..., ScriptedRun], *labels: tuple[str, ...]) -> tuple[ScriptedRun, SolverInputs]:
    """A run in whose iterations 12+12 and further questions were labelled so."""
    run = scripted(*SIZES, "solver.accumulate=true")
    for iteration, answers in enumerate(labels, start=1):
        dataset = [TrainingQuestion(f"{12 + n}+12", label) for n, label in enumerate(answers)]
        run.leave(PhaseName.LABELS, "dataset", dataset, iteration=iteration)
    last = len(labels)
    return run, SolverInputs(BASE, Source(last, PhaseName.LABELS, "dataset"), EarlierDataSets(last - 1))


def test_data_sets_accumulate_and_a_question_with_two_labels_is_left_out(
    scripted: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, inputs = accumulating(scripted, ("24", "25"), ("24.0", "26", "26"))
    training = RolloutsOnly(run.script("solver", lambda _prompt, index: f"\\boxed{{{24 + index}}}"), steps=2)
    monkeypatch.setattr(solver, "train_policy", training)
    solver.run(run.ctx, run.begin(PhaseName.SOLVER, iteration=2), inputs)
    assert sorted(training.engine.prompts) == sorted(["Q:12+12\nA:", "Q:14+12\nA:"] * 2)
    assert training.facts == {"questions": 2, "disputed": 1}
    assert [sum(rollouts.rewards) for rollouts in training.drawn] == [2.0, 2.0]


def test_data_sets_that_disagree_on_everything_are_named(scripted: Callable[..., ScriptedRun]) -> None:
    run, inputs = accumulating(scripted, ("24",), ("25",))
    with pytest.raises(UserError, match=r"^solver\.accumulate: iterations label all of their 1 questions differently"):
        solver.run(run.ctx, run.begin(PhaseName.SOLVER, iteration=2), inputs)


def test_a_damaged_data_set_is_named_by_file_and_line(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES)
    run.leave(PhaseName.LABELS, "dataset", QUESTIONS)
    run.ctx.path(DATASET).write_text('{"question": "1+1"}\n')
    with pytest.raises(UserError, match=r"dataset\.jsonl: line 1 is malformed: answer is missing"):
        solver.run(run.ctx, run.begin(PhaseName.SOLVER), INPUTS)


def hit_or_miss(prompt: str, index: int) -> str:
    """The questions 2+2 and 3+3 are answered right half the time, all others always."""
    label = next(item.answer for item in QUESTIONS if item.question in prompt)
    return f"\\boxed{{{label if index % 2 or label not in ('4', '6') else -1}}}"


@pytest.fixture
def resampled(
    scripted: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[ScriptedEngine, RolloutsOnly]]:
    def train(rounds: int, steps: int = 3) -> tuple[ScriptedEngine, RolloutsOnly]:
        run = scripted(*SIZES, f"solver.resampling_rounds={rounds}")
        run.leave(PhaseName.LABELS, "dataset", QUESTIONS)
        training = RolloutsOnly(run.script("solver", hit_or_miss), steps)
        monkeypatch.setattr(solver, "train_policy", training)
        solver.run(run.ctx, run.begin(PhaseName.SOLVER), INPUTS)
        return training.engine, training

    return train


def groups_of(rollouts: Rollouts) -> list[list[float]]:
    return [list(rollouts.rewards[i : i + 4]) for i in range(0, len(rollouts.rewards), 4)]


def test_groups_without_signal_make_way_for_those_of_further_questions(resampled: Callable[..., Any]) -> None:
    engine, training = resampled(rounds=6)
    for rollouts in training.drawn:
        assert groups_of(rollouts) == [[0.0, 1.0, 0.0, 1.0]] * 2
        assert len({sample.prompt_tokens for sample in rollouts.samples}) == 2
    for step in range(1, 4):
        asked = [engine.prompts[i] for i, r in enumerate(engine.requests) if r.key.startswith(f"0/1/solver/{step}/")]
        assert len(asked) == len(set(asked)), "a question is asked once a step"
    assert len({request.key for request in engine.requests}) == len(engine.requests)
    # Accuracy is that of the questions as they came, two of six of which are half right.
    assert sum(rollouts.metrics["accuracy_to_label"] for rollouts in training.drawn) == pytest.approx((4 + 2 * 0.5) / 2)
    for rollouts in training.drawn:
        assert rollouts.metrics["resampled_rate"] == rollouts.metrics["no_signal_rate"]


def test_rounds_are_bounded_and_what_is_missing_after_them_stays(resampled: Callable[..., Any]) -> None:
    first, _ = resampled(rounds=0)
    once, training = resampled(rounds=1)
    for step, rollouts in enumerate(training.drawn, start=1):
        keys = [request.key for request in once.requests if request.key.startswith(f"0/1/solver/{step}/")]
        missing = round(2 * rollouts.metrics["no_signal_rate"])
        assert keys[:2] == [f"0/1/solver/{step}/{i}" for i in range(2)]
        assert keys[2:] == [f"0/1/solver/{step}/round/1/{i}" for i in range(missing)]
        assert len(rollouts.samples) == 8
    assert any(min(group) == max(group) for rollouts in training.drawn for group in groups_of(rollouts))
    assert len(once.requests) > len(first.requests) == 6


def test_a_step_by_itself_asks_what_it_asks_after_others(resampled: Callable[..., Any]) -> None:
    """A run that resumes draws the same: nothing is carried from step to step."""
    (engine, _), (again, _) = (resampled(rounds=2) for _ in range(2))
    asked = [(r.key, r.prompt_tokens) for r in engine.requests]
    assert asked == [(r.key, r.prompt_tokens) for r in again.requests]
    order = derive_seed("0/1/solver/order")
    for step in range(1, 4):
        batch = solver_batch(len(QUESTIONS), step, 2, order)
        others = further_questions(len(QUESTIONS), step, batch, order)
        assert sorted((*batch, *others)) == list(range(6))
        texts = [engine.prompts[i] for i, pair in enumerate(asked) if pair[0].startswith(f"0/1/solver/{step}/")]
        expected = [f"Q:{QUESTIONS[item].question}\nA:" for item in (*batch, *others)]
        assert texts == expected[: len(texts)]
    assert len(asked) > 6


def test_on_an_engine_that_cannot_be_stopped_over_provision_changes_nothing_but_what_is_logged(
    train: Callable[..., Any],
) -> None:
    plain, plainly = train(steps=3)
    engine, training = train("solver.over_provision=0.5", steps=3)
    assert [(r.key, r.prompt_tokens) for r in engine.requests] == [(r.key, r.prompt_tokens) for r in plain.requests]
    for rollouts, expected in zip(training.drawn, plainly.drawn, strict=True):
        assert (rollouts.samples, rollouts.rewards) == (expected.samples, expected.rewards)
        logged = {"aborted_token_share": 0.0, "passed_over_rate": pytest.approx(rollouts.metrics["passed_over_rate"])}
        assert rollouts.metrics == {**expected.metrics, **logged}
    assert training.carried is not None and plainly.carried is None
