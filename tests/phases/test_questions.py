"""The Challenger writes questions part by part; what is malformed is dropped and counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rzero_mega.coevolution.plan import BASE, QuestionsInputs
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import questions
from rzero_mega.run.stop import Stopped
from tests.phases.scripted import CUT_OFF, Asked, ScriptedRun, rows, steps_shown, summary

INPUTS = QuestionsInputs(BASE)
WRITTEN = {
    0: "<question>1+2</question>\\boxed{3}",
    1: "1+2=3",
    2: "<question>1+2</question>\\boxed{4}",
    3: "<question>2*3</question>",
    4: f"<question>5-4</question>\\boxed{{1}}{CUT_OFF}",
}
SIZES = ("questions.count=7", "questions.per_part=5")


def write(_prompt: str, index: int) -> str:
    return WRITTEN[index]


def test_malformed_responses_are_dropped_and_counted(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES)
    engine, phase = run.script("challenger", write), run.begin(PhaseName.QUESTIONS)
    questions.run(run.ctx, phase, INPUTS)
    three, four, one = (
        {"question": text, "own_answer": own} for text, own in (("1+2", "3"), ("1+2", "4"), ("5-4", "1"))
    )
    assert rows(phase, "questions") == [three, four, one, three]
    found = summary(phase)
    assert (found["asked"], found["well_formed"], found["unique_share"]) == (7, 4, 0.5)
    assert engine.closed and steps_shown(phase) == [1, 2]


def test_every_part_draws_from_a_stream_of_its_own_and_the_last_is_what_is_left(
    scripted: Callable[..., ScriptedRun],
) -> None:
    run = scripted(*SIZES, "seed=3")
    engine, phase = run.script("challenger", write), run.begin(PhaseName.QUESTIONS)
    questions.run(run.ctx, phase, INPUTS)
    assert [(request.key, request.n) for request in engine.requests] == [("3/1/questions/0", 5), ("3/1/questions/1", 2)]
    assert engine.prompts == ["C:", "C:"]


def test_an_own_answer_is_asked_for_only_if_the_configuration_says_so(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES, "questions.require_boxed=false")
    run.script("challenger", write)
    phase = run.begin(PhaseName.QUESTIONS)
    questions.run(run.ctx, phase, INPUTS)
    assert {"question": "2*3", "own_answer": None} in rows(phase, "questions")


def test_a_part_that_is_written_is_not_drawn_again(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES)
    engine, phase = run.script("challenger", write), run.begin(PhaseName.QUESTIONS)
    phase.directory.write_part(0, [WrittenQuestion("earlier", None)])
    questions.run(run.ctx, phase, INPUTS)
    assert [request.key for request in engine.requests] == ["0/1/questions/1"]
    assert [row["question"] for row in rows(phase, "questions")] == ["earlier", "1+2"]


def test_a_job_that_is_asked_to_stop_keeps_the_parts_it_has(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES)
    run.script("challenger", write)
    run.ctx.stop, phase = Asked(), run.begin(PhaseName.QUESTIONS)
    with pytest.raises(Stopped):
        questions.run(run.ctx, phase, INPUTS)
    assert phase.directory.finished_parts() == [0] and phase.directory.manifest() is None
