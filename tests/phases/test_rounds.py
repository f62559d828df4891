"""Rounds over the questions: which can be asked at the same time, and that nobody waits for a part to be whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, Source
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels
from rzero_mega.phases.drawing import QuestionsAsked
from rzero_mega.phases.rounds import Round, side_by_side
from rzero_mega.rollout.protocol import Arrived, Request
from tests.phases.scripted import ScriptedEngine, ScriptedRun, rows

QUESTIONS = Source(1, PhaseName.QUESTIONS, "questions")
INPUTS = LabelsInputs(BASE, QUESTIONS, EarlierDataSets(0))
TEXTS = ("1+2", "7*8", "9-4", "6+6", "1+" * 300 + "1", "2*2")
SIZES = (
    "labels.questions_per_part=2",
    "labels.votes.samples=6",
    "labels.panel={solver_reexpressed: 2}",
    "labels.curation={low: 0.1, high: 1.0}",
    "evaluation.benchmarks=[]",
)


class Backwards(ScriptedEngine):
    """Has all units at once, and hands over the last one first."""

    def generate_units(self, units: Sequence[Sequence[Request]], arrived: Arrived) -> None:
        self.units = getattr(self, "units", [])
        self.units.append(len(units))
        for number in reversed(range(len(units))):
            if not arrived(number, self.generate(units[number])):
                return


def answer(prompt: str, index: int) -> str:
    return f"\\boxed{{{len(prompt) % 7 + index % 2}}}"


@pytest.fixture
def labelled(scripted: Callable[..., ScriptedRun]) -> Callable[[type[ScriptedEngine]], tuple[list[Any], ...]]:
    def labelled(engine: type[ScriptedEngine]) -> tuple[list[Any], ...]:
        run = scripted(*SIZES)
        run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in TEXTS])
        run.engines["solver"] = solver = engine(run.base, answer, context=500)
        phase = run.begin(PhaseName.LABELS)
        labels.run(run.ctx, phase, INPUTS)
        if isinstance(solver, Backwards):
            # Two sources and three parts, of which one source's third holds the question that fits nowhere.
            assert solver.units[0] == 6
        return rows(phase, "labelled"), rows(phase, "dataset")

    return labelled


def test_in_whatever_order_parts_become_whole_the_data_are_the_same(
    labelled: Callable[[type[ScriptedEngine]], tuple[list[Any], ...]],
) -> None:
    assert labelled(Backwards) == labelled(ScriptedEngine)


def test_a_round_is_asked_beside_those_before_it_unless_it_takes_their_parts() -> None:
    def nothing(_number: int, _questions: Sequence[WrittenQuestion]) -> QuestionsAsked:
        raise AssertionError

    def of(name: str, *after: str) -> Round:
        return Round(name, range(0), "solver", BASE, nothing, after)

    rounds = [of("votes"), of("written"), of("checked", "written"), of("programs"), of("on paraphrases", "checked")]
    names = [[one.name for one in together] for together in side_by_side(rounds)]
    assert names == [["votes", "written"], ["checked", "programs"], ["on paraphrases"]]
