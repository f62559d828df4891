"""What the Challenger is rewarded for: rollouts in the order they were drawn, rewards by the pure function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rzero_mega.coevolution.challenger_reward import challenger_rewards
from rzero_mega.coevolution.plan import BASE, ChallengerInputs, EarlierDataSets
from rzero_mega.coevolution.records import TrainingQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import challenger
from rzero_mega.phases.steps import Start
from tests.phases.scripted import CUT_OFF, ScriptedRun
from tests.phases.training import RolloutsOnly

SIZES = (
    "challenger.training.prompts_per_step=2",
    "challenger.training.rollouts_per_prompt=3",
    "challenger.training.grpo.sequences_per_update=6",
    "challenger.votes.samples=4",
)
WRITTEN = (
    "<question>1+2</question>\\boxed{3}",
    "no question",
    "<question>44*7-19</question>\\boxed{9}",
)
VOTES = {
    "1+2": Vote("3", 4, 4, 4, (("3", 4),)),
    "44*7-19": Vote("289", 2, 4, 3, (("289", 2), ("9", 1)), cut_off=1),
}


def answer(prompt: str, index: int) -> str:
    if "44" not in prompt:
        return "\\boxed{3}"
    return ("\\boxed{289}", "\\boxed{9}", "\\boxed{289}", f"44*7={CUT_OFF}")[index]


@pytest.fixture
def train(scripted: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def train(*overrides: str, written: Sequence[str] = WRITTEN, steps: int = 1) -> tuple[ScriptedRun, RolloutsOnly]:
        run = scripted(*SIZES, *overrides)
        engine = run.script("challenger", lambda _prompt, index: written[index])
        run.script("solver", answer)
        training = RolloutsOnly(engine, steps)
        monkeypatch.setattr(challenger, "train_policy", training)
        phase = run.begin(PhaseName.CHALLENGER)
        challenger.run(run.ctx, phase, ChallengerInputs(BASE, BASE))
        return run, training

    return train


def test_rewards_are_those_of_the_pure_function_in_the_order_of_the_rollouts(train: Callable[..., Any]) -> None:
    run, training = train()
    easy, hard = WrittenQuestion("1+2", "3"), WrittenQuestion("44*7-19", "9")
    questions, votes = [easy, None, hard] * 2, [VOTES["1+2"], None, VOTES["44*7-19"]] * 2
    config = run.ctx.config
    expected = challenger_rewards(questions, votes, config.challenger.reward, config.checks)
    (rollouts,) = training.drawn
    assert rollouts.rewards == [reward.total for reward in expected]
    assert rollouts.rewards[2] > rollouts.rewards[0] == rollouts.rewards[1] == 0.0
    assert [(sample.key, sample.index) for sample in rollouts.samples] == [
        (f"0/1/challenger/1/{prompt}", index) for prompt in range(2) for index in range(3)
    ]


def test_the_solver_is_asked_the_well_formed_questions_alone(train: Callable[..., Any]) -> None:
    run, _ = train()
    solver = run.engines["solver"]
    assert solver.prompts == [f"Q:{text}\nA:" for text in ("1+2", "44*7-19")] * 2
    assert [request.key for request in solver.requests] == [f"0/1/challenger/1/votes/{i}" for i in range(4)]
    assert solver.closed


def test_every_step_draws_from_streams_of_its_own(train: Callable[..., Any]) -> None:
    _, training = train(steps=2)
    keys = [request.key for request in training.engine.requests]
    assert keys == ["0/1/challenger/1/0", "0/1/challenger/1/1", "0/1/challenger/2/0", "0/1/challenger/2/1"]
    assert training.drawn[0].metrics == training.drawn[1].metrics


def test_metrics_describe_the_step(train: Callable[..., Any]) -> None:
    _, training = train()
    metrics = training.drawn[0].metrics
    assert metrics["well_formed_rate"] == 4 / 6
    assert metrics["p_hat_mean"] == 0.75 and metrics["difficulty"] == 0.25
    assert metrics["unanswered_rate"] == 1 / 8
    assert metrics["unique_share"] == 0.5 and "memory_mean" not in metrics
    assert metrics["question_length"] == (3 + 7) / 2
    assert metrics["hacking/near_duplicate"] == 0.5 and metrics["hacking/cut_off"] == 1 / 8


def test_a_step_without_a_well_formed_question_asks_nothing(train: Callable[..., Any]) -> None:
    run, training = train(written=["nothing"] * 3)
    (rollouts,) = training.drawn
    assert rollouts.metrics == {"well_formed_rate": 0.0}
    assert rollouts.rewards == [0.0] * 6 and run.engines["solver"].requests == []


def test_the_challenger_is_what_is_trained(train: Callable[..., Any]) -> None:
    run, training = train()
    _, _, role, start, config, longest_prompt = training.arguments
    assert (role, start, longest_prompt) == ("challenger", Start(BASE), len("C:"))
    assert config == run.ctx.config.challenger.training


def test_what_earlier_iterations_trained_on_pays_less(
    scripted: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scripted(*SIZES, "challenger.reward.memory.weight=0.25")
    run.leave(PhaseName.LABELS, "dataset", [TrainingQuestion("44*7-19", "289"), TrainingQuestion("5+5", "10")])
    training = RolloutsOnly(run.script("challenger", lambda _prompt, index: WRITTEN[index]), steps=1)
    run.script("solver", answer)
    monkeypatch.setattr(challenger, "train_policy", training)
    inputs = ChallengerInputs(BASE, BASE, EarlierDataSets(1))
    challenger.run(run.ctx, run.begin(PhaseName.CHALLENGER, iteration=2), inputs)
    (rollouts,) = training.drawn
    # One of three is malformed; the penalty for repetition is 2 of 6, and p of the hard one is half.
    assert rollouts.rewards == pytest.approx([0.0, 0.0, 1.0 - 2 / 6 - 0.25] * 2)
    assert (rollouts.metrics["memory_mean"], rollouts.metrics["remembered_rate"]) == (0.125, 0.5)
