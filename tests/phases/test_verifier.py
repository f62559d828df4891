"""A Verifier learns from the votes of an iteration, is measured, and has a say in the labels of the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.coevolution.curation import reasons
from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, Source, VerifierInputs
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.domains.registry import checks_of
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels, verdict_training, verifier
from rzero_mega.phases.context import ActivePhase
from rzero_mega.phases.verifying import NAME
from rzero_mega.run.stop import Stopped
from tests.phases.scripted import CUT_OFF, Asked, ScriptedEngine, ScriptedRun, rows, summary
from tests.phases.training import RolloutsOnly
from tests.phases.voted import VOTED

SIZES = (
    "verifier.train=true",
    "verifier.warm_up.steps=0",
    "verifier.training.prompts_per_step=4",
    "verifier.training.rollouts_per_prompt=2",
    "verifier.training.grpo.sequences_per_update=8",
    "verifier.samples=3",
    "verifier.gate.share=0.5",
    "labels.questions_per_part=2",
    "labels.votes.samples=4",
    "labels.curation={low: 0.5, high: 0.75}",
    "evaluation.benchmarks=[]",
)
INPUTS = VerifierInputs(BASE, Source(1, PhaseName.LABELS, "labelled"))


def parts_of(prompt: str) -> tuple[int, str]:
    question, answer = prompt.removeprefix("V:").removesuffix("\nA:").split("=")
    return sum(map(int, question.split("+"))), answer


def knows(prompt: str, index: int) -> str:
    """Always right."""
    truth, answer = parts_of(prompt)
    return r"\boxed{yes}" if str(truth) == answer else r"\boxed{no}"


def accepts(prompt: str, index: int) -> str:
    return r"\boxed{yes}"


@pytest.fixture
def trained(scripted: Callable[..., ScriptedRun], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def train(verify: Callable[[str, int], str], *overrides: str) -> tuple[RolloutsOnly, dict[str, Any], ScriptedRun]:
        run = scripted(*SIZES, *overrides)
        run.leave(PhaseName.LABELS, "labelled", VOTED)
        training = RolloutsOnly(run.script("solver", verify), steps=2)
        monkeypatch.setattr(verdict_training, "train_policy", training)
        phase = run.begin(PhaseName.VERIFIER)
        verifier.run(run.ctx, phase, INPUTS)
        assert training.then is not None
        return training, dict(training.then(run.base)), run

    return train


def test_half_of_a_step_s_answers_count_as_right_and_rewards_are_for_agreement(trained: Callable[..., Any]) -> None:
    training, _, _ = trained(knows)
    first, second = training.drawn
    assert first.rewards == [1.0] * 8 and second.rewards == [1.0] * 8
    asked = [parts_of(prompt) for prompt in training.engine.prompts[:8]]
    assert [str(truth) == answer for truth, answer in asked] == [True, False] * 4
    assert {int(answer) - truth for truth, answer in asked} == {0, 2}, "the majority's answer and the rarest"
    assert first.metrics == {"agreement": 1.0, "accepted_rate": 0.5, "unread_rate": 0.0}


def test_who_always_says_yes_earns_one_half_and_who_says_nothing_nothing(trained: Callable[..., Any]) -> None:
    yes, _, _ = trained(accepts)
    assert yes.drawn[0].rewards == [1.0, 1.0, 0.0, 0.0] * 2
    mute, _, _ = trained(lambda _prompt, _index: rf"\boxed{{yes}}{CUT_OFF}")
    assert mute.drawn[0].rewards == [0.0] * 8 and mute.drawn[0].metrics["unread_rate"] == 1.0


def test_a_verifier_that_tells_right_from_wrong_takes_part_and_its_rates_are_in_the_manifest(
    trained: Callable[..., Any],
) -> None:
    training, said, _ = trained(knows)
    measured = said["measured"]
    assert measured["takes_part"] and measured["unread"] == 0.0
    assert (measured["true_accept"], measured["false_accept"], measured["balanced_accuracy"]) == (1.0, 0.0, 1.0)
    assert measured["right"] == measured["wrong"] == measured["right_accepted"] > 4
    assert measured["intervals"]["true_accept"][0] > 0.5 and measured["intervals"]["false_accept"][1] < 0.5
    assert measured["audit"]["right"] == measured["audit"]["wrong"] > 4
    assert measured["audit"]["balanced_accuracy"] == 1.0
    judged = 2 * measured["right"] + 2 * measured["audit"]["right"]
    assert said["verdict_costs"]["samples"] == 3 * judged
    shown = {parts_of(prompt)[0] for prompt in training.engine.prompts[:8]}
    aside = {parts_of(prompt)[0] for prompt in training.engine.prompts[8:]}
    assert shown.isdisjoint(aside), "what it is measured on was never trained on"


@pytest.mark.parametrize(("change", "asked_again"), [({}, False), ({"steps": 3}, True), ({"use_step": 1}, True)])
def test_verdicts_of_the_model_that_fewer_steps_made_are_not_taken_for_this_one_s(
    change: dict[str, int], asked_again: bool, trained: Callable[..., Any]
) -> None:
    training, before, run = trained(knows)
    asked = len(training.engine.prompts)
    for name, value in change.items():
        setattr(run.ctx.config.verifier.training, name, value)
    assert training.then(run.base)["measured"] == before["measured"]
    assert (len(training.engine.prompts) > asked) is asked_again


def test_a_verifier_that_accepts_everything_is_a_coin_and_kept_out(trained: Callable[..., Any]) -> None:
    measured = trained(accepts)[1]["measured"]
    assert (measured["true_accept"], measured["false_accept"], measured["balanced_accuracy"]) == (1.0, 1.0, 0.5)
    assert not measured["takes_part"]
    assert trained(accepts, "verifier.gate.minimum=0.5")[1]["measured"]["takes_part"]


def test_without_a_known_pair_nothing_is_measured_and_the_gate_stays_shut(trained: Callable[..., Any]) -> None:
    _, said, _ = trained(knows, "verifier.gate.share=0")
    assert said["measured"]["balanced_accuracy"] is None and not said["measured"]["takes_part"]


# How the votes on a question went, 4 each: 22 and 66 are true.
ANSWERS = {"11+11": ("22", "22", "23", "24"), "22+22": ("45", "45", "44", "46"), "33+33": ("66",) * 4}
LABELS = LabelsInputs(
    BASE,
    Source(2, PhaseName.QUESTIONS, "questions"),
    EarlierDataSets(0),
    verifier=Source(1, PhaseName.VERIFIER, "model"),
)
MEASURED = {
    "right": 98,
    "right_accepted": 89,
    "wrong": 98,
    "wrong_accepted": 9,
    "takes_part": True,
    "unread": 0.0,
    "intervals": {},
}


def answers(prompt: str, index: int) -> str:
    if prompt.startswith("V:"):
        return knows(prompt, index)
    return f"\\boxed{{{ANSWERS[prompt.removeprefix('Q:').removesuffix(chr(10) + 'A:')][index]}}}"


@pytest.fixture
def judged(scripted: Callable[..., ScriptedRun]) -> Callable[..., tuple[ScriptedRun, ScriptedEngine]]:
    """A run with two questions to label and a Verifier that was measured so."""

    def make(measured: dict[str, Any], *overrides: str) -> tuple[ScriptedRun, ScriptedEngine]:
        run = scripted(*SIZES, *overrides)
        run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in ANSWERS], iteration=2)
        directory = run.directory.phase(1, PhaseName.VERIFIER)
        directory.begin({})
        (directory.path / "model").mkdir()
        (directory.path / "model" / "config.json").write_text("{}")
        directory.finish({"model": Path("model")}, {"measured": measured})
        return run, run.script("solver", answers)

    return make


def label(run: ScriptedRun) -> ActivePhase:
    phase = run.begin(PhaseName.LABELS, iteration=2)
    labels.run(run.ctx, phase, LABELS)
    return phase


def verdicts_asked(engine: ScriptedEngine) -> list[str]:
    return [prompt for prompt in engine.prompts if prompt.startswith("V:")]


def test_a_label_that_the_verifier_rejects_is_dropped_and_the_tokens_count(judged: Callable[..., Any]) -> None:
    run, engine = judged(MEASURED)
    phase = label(run)
    first, second, sure = rows(phase, "labelled")
    assert (first["dropped"], first["acceptance"]) == (None, 1.0)
    assert (second["dropped"], second["acceptance"], second["answer"]) == ("rejected", 0.0, "45")
    assert sure["dropped"] == "above_band" and "acceptance" not in sure
    assert rows(phase, "dataset") == [{"question": "11+11", "answer": "22"}]
    found = summary(phase)
    assert found["dropped"] == dict.fromkeys(reasons(checks_of(run.ctx.config), verified=True), 0) | {
        "rejected": 1,
        "above_band": 1,
    }
    assert verdicts_asked(engine) == ["V:11+11=22\nA:"] * 3 + ["V:22+22=45\nA:"] * 3, "labels in the band alone"
    told = found["verdicts"]
    assert (told["answers_verified"], told["rejected"], told["rejected_share"], told["overruled"]) == (2, 1, 0.5, 0)
    assert told["audit"]["true_accept"] == 1.0 and told["audit"]["false_accept"] == 0.0
    assert found["costs"]["verdicts"]["samples"] == 6
    assert found["costs"]["verdicts"]["tokens"] == 3 * len(r"\boxed{yes}") + 3 * len(r"\boxed{no}")
    assert found["label_tokens"] == sum(cost["tokens"] for cost in found["costs"].values())


def test_weighed_by_verdicts_another_answer_wins_with_its_own_share(judged: Callable[..., Any]) -> None:
    run, engine = judged(MEASURED, "verifier.use=[weigh]", "labels.curation.low=0.25")
    phase = label(run)
    first, second, _ = rows(phase, "labelled")
    assert (first["answer"], first["count"]) == ("22", 2)
    assert (second["answer"], second["count"], second["share"], second["correct"]) == ("44", 1, 0.25, True)
    assert second["tally"] == [["44", 1], ["45", 2], ["46", 1]]
    assert {"question": "22+22", "answer": "44"} in rows(phase, "dataset")
    assert summary(phase)["verdicts"]["overruled"] == 1 and "rejected" not in summary(phase)["dropped"]
    assert len(verdicts_asked(engine)) == 3 * 6, "every answer to questions that have several"


def test_a_verifier_that_the_gate_keeps_out_is_not_asked(judged: Callable[..., Any]) -> None:
    run, engine = judged({**MEASURED, "takes_part": False})
    phase = label(run)
    assert verdicts_asked(engine) == [] and "verdicts" not in summary(phase)["costs"]
    assert summary(phase)["verdicts"] == {"takes_part": False}
    assert [row["question"] for row in rows(phase, "dataset")] == ["11+11", "22+22"]


def test_labels_without_a_verifier_are_those_of_labels_that_know_none(judged: Callable[..., Any]) -> None:
    run, _ = judged({**MEASURED, "takes_part": False})
    label(run)
    files = {
        name: (run.directory.phase(2, PhaseName.LABELS).path / f"{name}.jsonl").read_bytes()
        for name in ("labelled", "dataset")
    }
    other, _ = judged(MEASURED, "verifier.train=false")
    phase = other.begin(PhaseName.LABELS, iteration=2)
    labels.run(other.ctx, phase, LabelsInputs(BASE, LABELS.questions, EarlierDataSets(0)))
    assert files == {name: (phase.directory.path / f"{name}.jsonl").read_bytes() for name in files}
    assert "verdicts" not in summary(phase) and "rejected" not in summary(phase)["dropped"]


def test_a_damaged_measure_is_named_with_its_manifest(judged: Callable[..., Any]) -> None:
    run, _ = judged({**MEASURED, "right_accepted": 99})
    with pytest.raises(UserError, match=r"verifier/manifest\.json: measured is missing or malformed"):
        label(run)


def test_verdicts_that_are_there_are_not_asked_again(judged: Callable[..., Any]) -> None:
    undisturbed, whole = judged(MEASURED, "rollout.batch_sequences=1")
    expected = label(undisturbed)
    run, engine = judged(MEASURED, "rollout.batch_sequences=1")
    phase, generate = run.begin(PhaseName.LABELS, iteration=2), engine.generate

    def generate_then_stop(requests: Any) -> Any:
        if requests and NAME in requests[0].key:
            run.ctx.stop = Asked()
        return generate(requests)

    engine.generate = generate_then_stop
    with pytest.raises(Stopped):
        labels.run(run.ctx, phase, LABELS)
    before = len(verdicts_asked(engine))
    assert 0 < before < len(verdicts_asked(whole))
    run.ctx.stop, engine.generate = undisturbed.ctx.stop, generate
    again = label(run)
    assert len(verdicts_asked(engine)) == len(verdicts_asked(whole))
    for name in ("labelled", "dataset"):
        assert rows(again, name) == rows(expected, name)
