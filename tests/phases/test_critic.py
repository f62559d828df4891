"""A Critic learns from the answers of an iteration, is measured, and scores: real weights, one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.coevolution.critic_measures import NO_BIAS, MeasuredCritic, Reliability, sigmoid
from rzero_mega.coevolution.critic_pairs.recombined_over_one_shot import KIND
from rzero_mega.coevolution.plan import BASE, CriticInputs, EarlierDataSets, LabelsInputs, SolverInputs, Source
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.coevolution.scores import UnlabelledQuestion
from rzero_mega.coevolution.set_aside import set_aside
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.rewriting.parts import HALVES
from rzero_mega.domains.rewriting.rows import best
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import critic, critic_material, critic_scoring, labels, solver, steps
from rzero_mega.phases.critic_scoring import scorer_of
from tests.learner.forked_ranks import LayoutCase
from tests.phases.critic_ranks import run_cases
from tests.phases.killed import assert_it_goes_on, left
from tests.phases.scored import SCORED, train
from tests.phases.scripted import ScriptedRun, rows, summary
from tests.phases.training import RolloutsOnly

SETTINGS = (
    "domain=rewriting",
    "critic.train=true",
    "critic={steps: 3, loss: {pairs_per_update: 4}, fixed_answers: 3}",
    "critic.optimizer={learning_rate: 0.001, weight_decay: 0.0}",
    "critic.gate={share: 0.3, pairs: 3, minimum: 0.0}",
    "learner.tokens_per_micro_batch=512",
    "learner.checkpoint={every: 1, asynchronous: false}",
    "labels.votes.samples=3",
    "labels.curation={low: 0.0, high: 1.0, drop_held_out: false}",
    "solver.training={prompts_per_step: 1, rollouts_per_prompt: 3, grpo: {sequences_per_update: 3}}",
    "evaluation.benchmarks=[]",
)
ANSWERS = Source(1, PhaseName.LABELS, "scored")
LEARNT = ("reward_mean", "score", "response_length", "loss", "grad_norm")
FIRST, SECOND = (Source(iteration, PhaseName.CRITIC, "model") for iteration in (1, 2))


@pytest.fixture
def runs(training_runs: Callable[..., ScriptedRun]) -> Callable[..., ScriptedRun]:
    return lambda name, *overrides: training_runs(name, *SETTINGS, *overrides)


MOMENTS: dict[str, tuple[Any, str, int]] = {
    "after two steps": (critic, "train_step", 3),
    "while it is measured": (critic, "AnswerScorer", 1),
    "as it is finished": (steps, "_finish", 1),
}


def test_it_learns_from_pairs_of_known_order_and_goes_on_to_the_same_bytes_whenever_it_was_killed(
    runs: Callable[..., ScriptedRun],
) -> None:
    _, said, logged = assert_it_goes_on(runs, train, left, MOMENTS)
    assert logged[0]["loss"] == pytest.approx(0.6931, abs=1e-3) and len(logged) == 3 and logged[-1]["grad_norm"] > 0
    measured = said["measured"]
    kinds = {"dropped_word", "repeated_word", "foreign_word", "swapped_word", "broken_order"}
    assert set(measured["kinds"]) == kinds == set(said["pairs"])
    assert measured["takes_part"] and measured["drift"] is None and measured["quality"] is not None
    assert said["closed_before"] == [] and all(pairs > 3 for pairs in said["pairs"].values())


def test_the_next_one_goes_on_without_closed_kinds_surpasses_the_base_and_is_held_against_the_first(
    runs: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs("two", "critic={steps: 1, rival_answers: 1}")
    train(run)
    kinds = {"dropped_word": Reliability(2, 0.0), "repeated_word": Reliability(2, 2.0)}
    before = MeasuredCritic(kinds, 0.6, NO_BIAS, close_below=0.6)
    monkeypatch.setattr(critic_material, "measured_critic", lambda *_: before)
    run.leave(PhaseName.LABELS, "scored", SCORED[6:], iteration=2)
    base = run.script("solver", lambda _prompt, _index: "rival words")
    phase = run.begin(PhaseName.CRITIC, iteration=2)
    answers = Source(2, PhaseName.LABELS, "scored")
    critic.run(run.ctx, phase, CriticInputs(FIRST, answers, rival=BASE, first=FIRST, fixed=ANSWERS))
    said = summary(phase)
    assert len(base.requests) == 6 and said["closed_before"] == said["measured"]["untrained"] == ["dropped_word"]
    assert "dropped_word" not in said["pairs"] and "dropped_word" not in said["measured"]["closed"]
    assert said["measured"]["kinds"]["solver_over_base"]["pairs"] > 0
    assert -1 <= said["measured"]["drift"]["correlation"] <= 1


def test_it_learns_that_answers_out_of_parts_are_better_than_those_at_once(runs: Callable[..., ScriptedRun]) -> None:
    run = runs("parts", "critic={steps: 1, recombined_answers: 2, fixed_answers: 0}", "critic.gate.share=0.5")
    at_once = [replace(row, answers=(row.question.text, None, None)) for row in SCORED]
    run.leave(PhaseName.LABELS, "scored", at_once)
    # One of two samples of a part is no answer.
    solver = run.script("solver", lambda prompt, index: best(asked(prompt)) if index else "!")
    phase = run.begin(PhaseName.CRITIC)
    critic.run(run.ctx, phase, CriticInputs(BASE, ANSWERS, solver=BASE))
    tasks = [row.question.text for row in SCORED]
    assert Counter(asked(prompt) for prompt in solver.prompts) == {
        part: 2 for task in tasks for part in HALVES.parts(task)
    }
    aside = [task for task in tasks if set_aside("critic", task, 0.5) and best(task) != task]
    assert summary(phase)["measured"]["kinds"][KIND]["pairs"] == min(3, len(aside)) > 0


def asked(prompt: str) -> str:
    """The task of a Solver's prompt."""
    return prompt.removeprefix("R:").partition("\n")[0]


def test_where_all_kinds_are_closed_the_next_one_is_trained_on_all_of_them(
    runs: Callable[..., ScriptedRun],
) -> None:
    run = runs("trapped", "critic.steps=0", "critic.gate={minimum: 0.6, close_below: 0.6}")
    first = summary(train(run))["measured"]
    assert not first["takes_part"], "a zero head is a coin"
    run.leave(PhaseName.LABELS, "scored", SCORED[6:], iteration=2)
    phase = run.begin(PhaseName.CRITIC, iteration=2)
    critic.run(run.ctx, phase, CriticInputs(FIRST, Source(2, PhaseName.LABELS, "scored")))
    assert summary(phase)["closed_before"] == [] and len(summary(phase)["pairs"]) > 3


class Scored:
    """A run with a Critic that was measured so, and a task to answer."""

    def __init__(self, run: ScriptedRun) -> None:
        self.run, self.phase = run, train(run)
        self.task = SCORED[0].question.text
        self.given = [(self.task, answer) for answer in SCORED[0].answers]

    def scores(self) -> Sequence[float]:
        domain = self.run.ctx.domain.answers
        assert isinstance(domain, ScoredAnswers)
        return scorer_of(self.run.ctx, domain, FIRST).scores(self.given)


def test_the_solver_and_the_labels_go_by_its_scores_which_say_whose_they_are(
    runs: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = Scored(runs("scored"))
    run, scores = scored.run, scored.scores()
    assert 0.0 < scores[0] != scores[1] < 1.0 and scores[2] == 0.0, "without an answer there is nothing to score"

    run.leave(PhaseName.LABELS, "dataset", [UnlabelledQuestion(scored.task)], iteration=3)
    engine = run.script("solver", lambda _prompt, index: SCORED[0].answers[index] or "!")
    training = RolloutsOnly(engine, 1)
    monkeypatch.setattr(solver, "train_policy", training)
    dataset = Source(3, PhaseName.LABELS, "dataset")
    solver.run(run.ctx, run.begin(PhaseName.SOLVER), SolverInputs(BASE, dataset, critic=FIRST))
    assert training.drawn[0].rewards == pytest.approx(scores, abs=1e-5)
    assert training.facts is not None and training.facts["scorer"].startswith("1/critic/model@")

    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(scored.task, None)], iteration=2)
    phase = run.begin(PhaseName.LABELS, iteration=2)
    questions = Source(2, PhaseName.QUESTIONS, "questions")
    labels.run(run.ctx, phase, LabelsInputs(BASE, questions, EarlierDataSets(0), critic=FIRST))
    (row,) = rows(phase, "scored")
    assert row["scores"] == pytest.approx(scores, abs=1e-5) and row["scorer"] == training.facts["scorer"]


def test_scores_are_mixed_with_the_domain_s_and_length_is_taken_out_of_them(runs: Callable[..., ScriptedRun]) -> None:
    scored = Scored(runs("scored"))
    whole, config = scored.scores(), scored.run.ctx.config.critic
    config.weight = 0.25
    expected = [0.25 * his + 0.75 * its for his, its in zip(whole, SCORED[0].scores, strict=True)]
    assert scored.scores() == pytest.approx(expected, abs=1e-5)
    config.weight, config.remove_length = 1.0, True
    length = summary(scored.phase)["measured"]["length"]
    corrected = [
        sigmoid(logit(value) - length["slope"] * (len(answer) - length["mean"]))
        for value, answer in zip(whole[:2], (answer for _, answer in scored.given[:2] if answer), strict=True)
    ]
    assert length["slope"] != 0.0 and scored.scores() == pytest.approx([*corrected, 0.0], abs=1e-4)
    config.weight = 0.0
    assert scored.scores() == list(SCORED[0].scores)


def logit(share: float) -> float:
    from math import log

    return log(share / (1 - share))


def test_a_critic_that_the_gate_keeps_out_leaves_scoring_to_the_domain(runs: Callable[..., ScriptedRun]) -> None:
    scored = Scored(runs("shut", "critic.steps=0", "critic.gate.minimum=0.6"))
    measured = summary(scored.phase)["measured"]
    assert {found["share"] for found in measured["kinds"].values()} == {0.5}, "a zero head is a coin"
    assert not measured["takes_part"] and scored.scores() == list(SCORED[0].scores)


def test_a_damaged_measure_is_named_with_its_manifest(runs: Callable[..., ScriptedRun]) -> None:
    run = runs("damaged")
    directory = run.directory.phase(1, PhaseName.CRITIC)
    directory.begin({})
    (directory.path / "model").mkdir()
    (directory.path / "model" / "config.json").write_text("{}")
    directory.finish({"model": Path("model")}, {"measured": {"kinds": {}}})
    domain = run.ctx.domain.answers
    assert isinstance(domain, ScoredAnswers)
    with pytest.raises(UserError, match=r"critic/manifest\.json: measured is missing or malformed"):
        scorer_of(run.ctx, domain, FIRST)


@pytest.mark.gloo
def test_on_two_ranks_it_learns_is_measured_and_scores_labels_and_solver_as_on_one(tmp_path: Path) -> None:
    found = run_cases([LayoutCase("scalar-one"), LayoutCase("scalar-two", dp=2)], tmp_path)
    one, two = found["scalar-one"], found["scalar-two"]
    assert two.scores == pytest.approx(one.scores, abs=1e-4) and len(set(one.scores)) > 10
    said, said_by_two = one.critic, two.critic
    assert said["pairs"] == said_by_two["pairs"] != {} and said["loss"] == pytest.approx(said_by_two["loss"], abs=1e-5)
    assert said["measured"]["kinds"].keys() == said_by_two["measured"]["kinds"].keys()

    for ours, theirs in zip(two.answered, one.answered, strict=True):
        assert ours["answers"] == theirs["answers"] and ours["scores"] == pytest.approx(theirs["scores"], abs=1e-4)
    assert len({score for row in one.answered for score in row["scores"]}) > 10 and "scorer" in one.answered[0]
    for ours, theirs in zip(two.steps, one.steps, strict=True):
        assert {key: ours[key] for key in LEARNT} == pytest.approx({key: theirs[key] for key in LEARNT}, abs=1e-4)
        assert theirs["grad_norm"] > 0


def test_servers_have_made_way_before_a_critic_is_built(
    runs: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On GPUs that they share it would find no room."""
    ctx, done = runs("room").ctx, list[str]()
    monkeypatch.setattr(ctx, "rest_servers", lambda: done.append("rest"))
    monkeypatch.setattr(critic_scoring, "SequenceScorer", lambda *_: done.append("built"))
    critic_scoring.AnswerScorer(ctx, ctx.model(BASE))
    assert done == ["rest", "built"]
