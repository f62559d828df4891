"""Votes that are aborted once they are decided leave the data set that all of them would."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, Source
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels
from rzero_mega.rollout.protocol import Arrived, Decided, FinishReason, Request, Sample, logprob_array, token_array
from tests.phases.scripted import CUT_OFF, ScriptedEngine, ScriptedRun, rows, summary

INPUTS = LabelsInputs(BASE, Source(1, PhaseName.QUESTIONS, "questions"), EarlierDataSets(0))
SIZES = (
    "labels.questions_per_part=7",
    "labels.votes.samples=10",
    "labels.curation={low: 0.3, high: 0.8}",
    "evaluation.benchmarks=[]",
)
QUESTIONS = [f"{a}+{b}" for a in range(10, 16) for b in range(20, 30)]


class Aborting(ScriptedEngine):
    """Samples come in any order. Of those that are no longer needed some are drawn all the same, others in part."""

    def __init__(self, model: Path, respond: Callable[[str, int], str], chance: random.Random) -> None:
        super().__init__(model, respond)
        self._chance, self.aborted = chance, 0

    def generate_needed(self, units: Sequence[Sequence[Request]], arrived: Arrived, decided: Decided) -> None:
        for number, unit in enumerate(units):
            samples = self.generate(unit)
            order, over = list(range(len(samples))), set[str]()
            self._chance.shuffle(order)
            for place in order:
                sample = samples[place]
                if sample.key in over:
                    samples[place] = self._left(sample)
                elif decided(sample):
                    over.add(sample.key)
            if not arrived(number, samples):
                return

    def _left(self, sample: Sample) -> Sample:
        if self._chance.random() < 0.2:
            return sample
        self.aborted += 1
        begun = sample.tokens[: self._chance.randrange(len(sample.tokens))]
        drawn = token_array(begun), logprob_array([-1.0] * len(begun))
        return Sample(sample.key, sample.index, sample.prompt_tokens, *drawn, FinishReason.ABORT, 0)


def answer_of(seed: int) -> Callable[[str, int], str]:
    """Questions are of all kinds: easy, hard, without answers, with answers that are written in several ways."""

    def answer(prompt: str, index: int) -> str:
        question = random.Random(f"{seed}/{prompt}")
        ease, silent = question.random(), question.choice([0.0, 0.1, 0.8])
        said = random.Random(f"{seed}/{prompt}/{index}")
        if said.random() < silent:
            return said.choice(["no box", f"\\boxed{{1}}{CUT_OFF}"])
        right = said.random() < ease
        return "\\boxed{" + said.choice(["5", "5", "5.0", "5 m"] if right else ["5 cm", "7", "8", "9"]) + "}"

    return answer


@pytest.fixture
def labelled(scripted: Callable[..., ScriptedRun]) -> Callable[..., tuple[bytes, ScriptedRun, dict[str, Any]]]:
    """The data set of a phase whose Solver answers as of a seed, the run and the phase's summary."""

    def run_phase(seed: int, *overrides: str) -> tuple[bytes, ScriptedRun, dict[str, Any]]:
        run = scripted(*SIZES, *overrides)
        run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in QUESTIONS])
        run.engines["solver"] = Aborting(run.base, answer_of(seed), random.Random(seed))
        phase = run.begin(PhaseName.LABELS)
        labels.run(run.ctx, phase, INPUTS)
        kept = [row["question"] for row in rows(phase, "labelled") if row["kept"]]
        assert 0 < len(kept) < len(QUESTIONS)
        return (phase.directory.path / "dataset.jsonl").read_bytes(), run, summary(phase)

    return run_phase


@pytest.mark.parametrize("unanswered", ["denominator", "answer"])
@pytest.mark.parametrize("seed", range(4))
def test_the_data_set_is_that_of_all_votes(
    labelled: Callable[..., tuple[bytes, ScriptedRun, dict[str, Any]]], seed: int, unanswered: str
) -> None:
    how = f"labels.votes.unanswered={unanswered}"
    full, run, of_all = labelled(seed, how)
    assert run.engines["solver"].aborted == 0
    aborting, run, of_some = labelled(seed, how, "labels.abort_decided=true")
    assert run.engines["solver"].aborted > 0
    assert aborting == full
    assert of_some["label_accuracy"] == of_all["label_accuracy"] and of_some["audit"]["kept"] == of_all["audit"]["kept"]
    assert of_some["label_tokens"] < of_all["label_tokens"]


def test_an_aborted_sample_was_not_cut_off_by_its_limit(
    labelled: Callable[..., tuple[bytes, ScriptedRun, dict[str, Any]]],
) -> None:
    _, _, of_all = labelled(1)
    _, _, of_some = labelled(1, "labels.abort_decided=true")
    assert of_some["hacking"]["cut_off"] <= of_all["hacking"]["cut_off"]


def test_what_gauges_read_in_the_first_iteration_is_drawn_to_its_end(
    labelled: Callable[..., tuple[bytes, ScriptedRun, dict[str, Any]]],
) -> None:
    _, run, _ = labelled(1, "labels.abort_decided=true", "labels.gauges.questions=10")
    assert run.engines["solver"].aborted == 0


def test_an_engine_that_cannot_abort_draws_all(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES, "labels.abort_decided=true")
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in QUESTIONS])
    run.script("solver", answer_of(1))
    phase = run.begin(PhaseName.LABELS)
    labels.run(run.ctx, phase, INPUTS)
    assert all(row["answered"] == sum(a is not None for a in row["answers"]) for row in rows(phase, "labelled"))
    assert summary(phase)["costs"]["solver"]["samples"] == 10 * len(QUESTIONS)
