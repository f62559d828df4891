"""A Critic that writes verdicts: what it is rewarded for and measured to do, what it scores, and in whose place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from rzero_mega.coevolution.comparisons import OrderEffects
from rzero_mega.coevolution.critic_measures import NO_BIAS, MeasuredCritic, Reliability
from rzero_mega.coevolution.plan import BASE, ChallengerInputs, CriticInputs, EarlierDataSets, LabelsInputs, Source
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.coevolution.set_aside import set_aside
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.rewriting.rows import quality
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import challenger, critic, labels, verdict_training
from rzero_mega.phases.comparing import NAME
from rzero_mega.phases.context import ActivePhase
from rzero_mega.phases.critic_scoring import scorer_of
from rzero_mega.phases.place import Place
from rzero_mega.run.stop import Stopped
from tests.phases.scored import SCORED
from tests.phases.scripted import CUT_OFF, Asked, Respond, ScriptedEngine, ScriptedRun, rows, summary
from tests.phases.training import RolloutsOnly

SETTINGS = (
    "domain=rewriting",
    "critic.train=true",
    "critic.form=generative",
    "critic.comparing.training={prompts_per_step: 12, rollouts_per_prompt: 2, grpo: {sequences_per_update: 24}}",
    "critic.comparing.training.sampling.max_new_tokens=4",
    "critic.comparing.max_new_tokens=4",
    "critic.gate={share: 0.3, pairs: 3}",
    "challenger.reward.uncertainty=spread",
    "challenger.training={prompts_per_step: 2, rollouts_per_prompt: 3, grpo: {sequences_per_update: 6}}",
    "questions.require_boxed=false",
    "challenger.votes.samples=3",
    "labels.votes.samples=3",
    "labels.curation={low: 0.0, high: 1.0, drop_held_out: false}",
    "evaluation.benchmarks=[]",
    "rollout.batch_sequences=1",
)
ANSWERS, FIRST = Source(1, PhaseName.LABELS, "scored"), Source(1, PhaseName.CRITIC, "model")
TASK = SCORED[0].question.text
GIVEN = [(TASK, answer) for answer in SCORED[0].answers]


def parts_of(prompt: str) -> tuple[str, str, str]:
    """The question and both answers of a Critic's prompt."""
    question, first, second, _ = prompt.removeprefix("W:").split("\n")
    return question, first.removeprefix("1:"), second.removeprefix("2:")


def worth(question: str, answer: str) -> float:
    found = quality(question, answer)
    return 0.0 if found is None else found


def knows(prompt: str, _index: int) -> str:
    question, first, second = parts_of(prompt)
    return "1" if worth(question, first) > worth(question, second) else "2"


def names_the_first(_prompt: str, _index: int) -> str:
    return "1"


def never_ends(_prompt: str, _index: int) -> str:
    return f"1{CUT_OFF}"


@pytest.fixture
def runs(scripted: Callable[..., ScriptedRun]) -> Callable[..., ScriptedRun]:
    return lambda *overrides: scripted(*SETTINGS, *overrides)


@pytest.fixture
def trained(runs: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def train(critic_says: Respond, *overrides: str) -> tuple[RolloutsOnly, MeasuredCritic]:
        run = runs(*overrides)
        run.leave(PhaseName.LABELS, "scored", SCORED)
        training = RolloutsOnly(run.script("solver", critic_says), steps=2)
        monkeypatch.setattr(verdict_training, "train_policy", training)
        critic.run(run.ctx, run.begin(PhaseName.CRITIC), CriticInputs(BASE, ANSWERS))
        assert training.then is not None
        return training, MeasuredCritic.from_json(training.then(run.base)["measured"])

    return train


def test_each_pair_is_shown_in_both_orders_and_naming_the_better_answer_pays(trained: Callable[..., Any]) -> None:
    training, _ = trained(knows)
    assert [rollouts.rewards for rollouts in training.drawn] == [[1.0] * 24] * 2
    assert training.drawn[0].metrics == {"agreement": 1.0, "first_rate": 0.5, "unread_rate": 0.0}
    asked = [parts_of(prompt) for prompt in training.engine.prompts[:24]]
    for (question, better, worse), mirrored in zip(asked[::2], asked[1::2], strict=True):
        assert mirrored == (question, worse, better) and worth(question, better) > worth(question, worse)
    assert not any(set_aside("critic", question, 0.3) for question, _, _ in asked)
    assert set(training.facts["pairs"]) == set(SCORED_KINDS) and training.facts["closed_before"] == []


SCORED_KINDS = ("dropped_word", "repeated_word", "foreign_word", "swapped_word", "broken_order")


def test_who_always_names_the_first_earns_one_half_and_who_never_ends_nothing(trained: Callable[..., Any]) -> None:
    first, _ = trained(names_the_first)
    assert first.drawn[0].rewards == [1.0, 1.0, 0.0, 0.0] * 6 and first.drawn[0].metrics["first_rate"] == 1.0
    endless, _ = trained(never_ends)
    assert endless.drawn[0].rewards == [0.0] * 24 and endless.drawn[0].metrics["unread_rate"] == 1.0


def test_it_is_measured_on_pairs_and_answers_that_it_was_not_shown_in_both_orders(trained: Callable[..., Any]) -> None:
    training, measured = trained(knows)
    assert {kind: found.share for kind, found in measured.kinds.items()} == dict.fromkeys(SCORED_KINDS, 1.0)
    assert measured.takes_part and measured.quality == pytest.approx(1.0) and measured.drift is None
    compared = [parts_of(prompt) for prompt in training.engine.prompts[24:]]
    assert measured.order == OrderEffects(len(compared) // 2, 0.5, 1.0, 0.0)
    assert all(set_aside("critic", question, 0.3) for question, _, _ in compared)
    for (question, one, other), mirrored in zip(compared[::2], compared[1::2], strict=True):
        assert mirrored == (question, other, one)


def test_who_goes_by_the_order_is_a_coin_that_the_gate_keeps_out(trained: Callable[..., Any]) -> None:
    _, measured = trained(names_the_first)
    assert {found.share for found in measured.kinds.values()} == {0.5} and not measured.takes_part
    assert (measured.order.position_bias, measured.order.agreement) == (1.0, 0.0)
    assert measured.quality is None and measured.length.slope == 0.0
    _, measured = trained(never_ends)
    assert (measured.order.position_bias, measured.order.unread) == (None, 1.0) and not measured.takes_part


@pytest.fixture
def scored(runs: Callable[..., ScriptedRun]) -> Callable[..., ScriptedRun]:
    """A run with a Critic that was measured to be good enough."""

    def make(*overrides: str) -> ScriptedRun:
        run = runs(*overrides)
        directory = run.directory.phase(1, PhaseName.CRITIC)
        directory.begin({})
        (directory.path / "model").mkdir()
        (directory.path / "model" / "config.json").write_text("{}")
        measured = MeasuredCritic({"dropped_word": Reliability(4, 4.0)}, 0.6, NO_BIAS)
        directory.finish({"model": Path("model")}, {"measured": measured.as_json()})
        return run

    return make


def scores_in(run: ScriptedRun, given: list[tuple[str, str | None]]) -> list[float]:
    domain = run.ctx.domain.answers
    assert isinstance(domain, ScoredAnswers)
    return scorer_of(run.ctx, domain, FIRST).scores(given)


def test_an_answer_is_worth_the_share_of_its_comparisons_that_it_wins(scored: Callable[..., ScriptedRun]) -> None:
    run = scored()
    engine = run.script("challenger", knows)
    assert scores_in(run, GIVEN) == [1.0, 0.0, 0.0] and len(engine.prompts) == 2
    assert {request.sampling.temperature for request in engine.requests} == {0.0}
    # The same answer again meets nobody else, and other questions' answers are not met.
    again = [*GIVEN, GIVEN[0], (SCORED[1].question.text, "alone")]
    assert scores_in(run, again) == [1.0, 0.0, 0.0, 1.0, 0.5]
    assert not engine.closed
    run.script("challenger", names_the_first)
    assert scores_in(run, GIVEN) == [0.5, 0.5, 0.0]
    run.ctx.config.critic.weight = 0.25
    own = SCORED[0].scores
    assert scores_in(run, GIVEN) == pytest.approx([0.125 + 0.75 * own[0], 0.125 + 0.75 * own[1], 0.0])


def test_more_opponents_tell_more_answers_apart(scored: Callable[..., ScriptedRun]) -> None:
    words = TASK.split()
    given: list[tuple[str, str | None]] = [(TASK, " ".join(words[:count])) for count in range(1, len(words) + 1)]
    run = scored("critic.comparing.opponents=8")
    engine = run.script("challenger", knows)
    ranked = sorted(worth(TASK, answer) for _, answer in given if answer)
    expected = [ranked.index(worth(TASK, answer)) / (len(given) - 1) for _, answer in given if answer]
    assert len(set(ranked)) == len(given) and scores_in(run, given) == pytest.approx(expected)
    assert len(engine.prompts) == len(given) * (len(given) - 1)


def test_a_later_one_is_held_against_the_first_on_the_same_answers(
    scored: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scored("critic.fixed_answers=6")
    run.leave(PhaseName.LABELS, "scored", SCORED)
    run.leave(PhaseName.LABELS, "scored", SCORED[6:], iteration=2)
    training = RolloutsOnly(run.script("solver", knows), steps=0)
    monkeypatch.setattr(verdict_training, "train_policy", training)
    inputs = CriticInputs(FIRST, Source(2, PhaseName.LABELS, "scored"), first=FIRST, fixed=ANSWERS)
    critic.run(run.ctx, run.begin(PhaseName.CRITIC, iteration=2), inputs)
    assert training.then is not None
    drift = training.then(run.base)["measured"]["drift"]
    assert drift == {"correlation": pytest.approx(1.0), "shift": None}


LABELS = LabelsInputs(BASE, Source(2, PhaseName.QUESTIONS, "questions"), EarlierDataSets(0), critic=FIRST)


def label(run: ScriptedRun) -> ActivePhase:
    phase = run.begin(PhaseName.LABELS, iteration=2)
    labels.run(run.ctx, phase, LABELS)
    return phase


def labelling(run: ScriptedRun) -> ScriptedEngine:
    """The Critic's engine, of a run that is to have three questions answered and scored."""
    answers = {row.question.text: row.answers for row in SCORED[:3]}
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in answers], iteration=2)
    run.script("solver", lambda prompt, index: answers[prompt.removeprefix("R:").partition("\n")[0]][index] or "!")
    return run.script("challenger", knows)


def test_labels_go_by_its_scores_and_say_whose_they_are(scored: Callable[..., ScriptedRun]) -> None:
    run = scored()
    engine = labelling(run)
    phase = label(run)
    assert [row["scores"] for row in rows(phase, "scored")] == [[1.0, 0.0, 0.0]] * 3
    costs = summary(phase)["costs"]
    assert set(costs) == {"solver", "verdicts"} and costs["verdicts"]["samples"] == len(engine.prompts) > 0
    assert summary(phase)["label_tokens"] == costs["solver"]["tokens"] + costs["verdicts"]["tokens"]
    assert {row["scorer"] for row in rows(phase, "scored")} == {summary(phase)["scorer"]}
    assert summary(phase)["scorer"].startswith("1/critic/model@")


def test_verdicts_that_labels_have_are_not_asked_again(scored: Callable[..., ScriptedRun]) -> None:
    undisturbed = scored()
    whole = labelling(undisturbed)
    expected = label(undisturbed)
    run = scored()
    engine = labelling(run)
    generate = engine.generate

    def generate_then_stop(requests: Any) -> Any:
        run.ctx.stop = Asked()
        assert all(request.key.startswith(NAME) for request in requests)
        return generate(requests)

    engine.generate = generate_then_stop  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        label(run)
    before = len(engine.prompts)
    assert 0 < before < len(whole.prompts)
    run.ctx.stop, engine.generate = undisturbed.ctx.stop, generate  # type: ignore[method-assign]
    again = label(run)
    assert len(engine.prompts) == len(whole.prompts) and rows(again, "scored") == rows(expected, "scored")


def test_in_the_challenger_s_phase_it_speaks_where_the_solver_does(
    scored: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scored()
    answers = SCORED[0].answers

    def both(prompt: str, index: int) -> str:
        return knows(prompt, index) if prompt.startswith("W:") else answers[index] or "!"

    solver = run.script("solver", both)
    written = run.script(
        "challenger", lambda _prompt, index: f"<question>{TASK}</question>" if index else "no question"
    )
    training = RolloutsOnly(written, steps=2)
    monkeypatch.setattr(challenger, "train_policy", training)
    challenger.run(run.ctx, run.begin(PhaseName.CHALLENGER, 2), ChallengerInputs(BASE, BASE, critic=FIRST))
    assert training.drawn[0].metrics["score_mean"] == pytest.approx(1 / 3)
    assert [prompt[0] for prompt in solver.prompts] == ["R"] * 4 + ["W"] * 2 + ["R"] * 4 + ["W"] * 2
    assert training.facts is not None and training.facts["scorer"].startswith("1/critic/model@")
    assert solver.closed and not any(prompt.startswith("W:") for prompt in written.prompts)


class Servers:
    """A context that makes an engine which can be closed, and remembers all."""

    def __init__(self, pool: object | None) -> None:
        self.server_pool, self.asked, self.made = pool, list[tuple[str, str, bool]](), list[Mock]()

    def engine(self, role: str, model: Path, wait: bool = True) -> Mock:
        self.asked.append((role, model.name, wait))
        self.made.append(Mock(spec=["close"]))
        return self.made[-1]


def test_servers_go_from_one_model_to_another_and_back_and_an_embedded_engine_stays() -> None:
    for pool, expected in ((object(), ["solver", "critic", "solver"]), (None, ["solver", "critic"])):
        ctx: Any = Servers(pool)
        place = Place(ctx, "solver")
        first = place.engine(Path("solver"), wait=False)
        assert place.engine(Path("solver")) is first
        other = place.engine(Path("critic"))
        back = place.engine(Path("solver"))
        assert other is not first and (back is first) == (pool is None) and place.engine(Path("solver")) is back
        waited = [False] + [True] * (len(expected) - 1)
        assert ctx.asked == [("solver", model, wait) for model, wait in zip(expected, waited, strict=True)]
        place.close()
        assert [engine.close.call_count for engine in ctx.made] == ([0, 0, 1] if pool else [1, 1])
