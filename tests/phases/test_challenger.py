"""What the Challenger is rewarded for: rollouts in the order they were drawn, rewards by the pure function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rzero_mega.coevolution.challenger_reward import challenger_rewards
from rzero_mega.coevolution.plan import BASE, ChallengerInputs, EarlierDataSets
from rzero_mega.coevolution.records import TrainingQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.domains.registry import checks_of
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import challenger as challenger_phase
from rzero_mega.phases.start import Start
from rzero_mega.rollout.protocol import Follow, Request, RolloutEngine, Sample
from tests.phases.scripted import CUT_OFF, ScriptedEngine, ScriptedRun
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
    def train(
        *overrides: str,
        written: Sequence[str] = WRITTEN,
        steps: int = 1,
        challenger: type[ScriptedEngine] = ScriptedEngine,
    ) -> tuple[ScriptedRun, RolloutsOnly]:
        run = scripted(*SIZES, *overrides)
        engine = challenger(run.base, lambda _prompt, index: written[index])
        run.engines["challenger"] = engine
        run.script("solver", answer)
        training = RolloutsOnly(engine, steps)
        monkeypatch.setattr(challenger_phase, "train_policy", training)
        phase = run.begin(PhaseName.CHALLENGER)
        challenger_phase.run(run.ctx, phase, ChallengerInputs(BASE, BASE))
        return run, training

    return train


def test_rewards_are_those_of_the_pure_function_in_the_order_of_the_rollouts(train: Callable[..., Any]) -> None:
    run, training = train()
    easy, hard = WrittenQuestion("1+2", "3"), WrittenQuestion("44*7-19", "9")
    questions, votes = [easy, None, hard] * 2, [VOTES["1+2"], None, VOTES["44*7-19"]] * 2
    config = run.ctx.config
    expected = challenger_rewards(questions, votes, config.challenger.reward, checks_of(config))
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


class Leading(ScriptedEngine):
    """Its samples come in another order than they were asked for, and each is followed at once."""

    def can_lead(self, other: RolloutEngine) -> bool:
        return isinstance(other, ScriptedEngine)

    def generate_followed(
        self, requests: Sequence[Request], other: RolloutEngine, follow: Follow
    ) -> tuple[list[Sample], dict[int, list[Sample]]]:
        samples, found = self.generate(requests), dict[int, list[Sample]]()
        for position in sorted(range(len(samples)), key=lambda position: position * 7 % len(samples)):
            request = follow(position, samples[position])
            if request is not None:
                found[position] = other.generate([request])
        return samples, found


LONG = f"<question>{'1+' * 4000}1</question>\\boxed{{1}}"


@pytest.mark.parametrize("written", [WRITTEN, ("nothing",) * 3, (WRITTEN[2], LONG, WRITTEN[0])])
def test_questions_that_stream_into_votes_are_rewarded_as_others(
    train: Callable[..., Any], written: Sequence[str]
) -> None:
    plain_run, plain = train(written=written)
    run, streamed = train(written=written, challenger=Leading)
    assert streamed.drawn == plain.drawn
    assert sorted(run.engines["solver"].prompts) == sorted(plain_run.engines["solver"].prompts)
    keys = [request.key for request in run.engines["solver"].requests]
    assert len(keys) == len(set(keys)) and all(key.startswith("0/1/challenger/1/votes/") for key in keys)


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
    monkeypatch.setattr(challenger_phase, "train_policy", training)
    inputs = ChallengerInputs(BASE, BASE, EarlierDataSets(1))
    challenger_phase.run(run.ctx, run.begin(PhaseName.CHALLENGER, iteration=2), inputs)
    (rollouts,) = training.drawn
    # One of three is malformed; the penalty for repetition is 2 of 6, and p of the hard one is half.
    assert rollouts.rewards == pytest.approx([0.0, 0.0, 1.0 - 2 / 6 - 0.25] * 2)
    assert (rollouts.metrics["memory_mean"], rollouts.metrics["remembered_rate"]) == (0.125, 0.5)
