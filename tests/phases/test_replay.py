"""Earlier questions are asked again beside the new ones, and what the votes on them decide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, OtherVoters, Source
from rzero_mega.coevolution.records import ReplayedQuestion, TrainingQuestion, WrittenQuestion
from rzero_mega.config.panel import Voter
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels
from rzero_mega.phases.context import ActivePhase
from rzero_mega.records import Record
from tests.phases.scripted import ScriptedRun, rows, steps_shown, summary

NEW = ("1+2", "7*8", "9-4")
EARLIER = {1: {"2+3": "5", "8-3": "4", "7*8": "56", "3*3": "8"}, 2: {"3*3": "9.0", "44*7-19": "289"}}
SIZES = (
    "labels.questions_per_part=2",
    "labels.votes.samples=4",
    "labels.curation={low: 0.5, high: 0.75}",
    "labels.curation.near_duplicates={drop: true, drop_seen: true, threshold: 1.0}",
    "labels.panel.base=1",
    "evaluation.benchmarks=[]",
)
ANSWERS = {
    "1+2": ("3", "3", "4"),
    "7*8": ("56", "54", "54"),
    "9-4": ("5", "6", "5"),
    "2+3": ("5", "5", "5"),
    "8-3": ("5", "5", "5"),
    "3*3": ("9", "9", "9"),
    "44*7-19": ("1", "2", "289"),
}
Label = Callable[..., tuple[ScriptedRun, ActivePhase]]
INPUTS = LabelsInputs(
    BASE, Source(3, PhaseName.QUESTIONS, "questions"), EarlierDataSets(2), OtherVoters(((Voter.BASE, BASE),))
)


def answer(prompt: str, index: int) -> str:
    return f"\\boxed{{{ANSWERS[prompt.removeprefix('Q:').removesuffix(chr(10) + 'A:')][index % 3]}}}"


@pytest.fixture
def label(tmp_path: Path) -> Iterator[Label]:
    """Labels the questions of iteration 3, in the folder of a name."""
    with ExitStack() as opened:

        def label(*overrides: str, name: str = "one") -> tuple[ScriptedRun, ActivePhase]:
            (tmp_path / name).mkdir()
            run = opened.enter_context(closing(ScriptedRun(tmp_path / name, (*SIZES, *overrides))))
            run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in NEW], iteration=3)
            for iteration, dataset in EARLIER.items():
                kept = [TrainingQuestion(*row) for row in dataset.items()]
                run.leave(PhaseName.LABELS, "dataset", kept, iteration=iteration)
            run.script("solver", answer)
            phase = run.begin(PhaseName.LABELS, iteration=3)
            labels.run(run.ctx, phase, INPUTS)
            return run, phase

        yield label


def test_labels_that_win_again_are_trained_on_again_as_they_were(label: Label) -> None:
    _, phase = label("labels.replay.questions=50")
    assert rows(phase, "dataset") == [
        {"question": "1+2", "answer": "3"},
        {"question": "9-4", "answer": "5"},
        {"question": "2+3", "answer": "5"},
        {"question": "3*3", "answer": "9.0"},
    ]
    replayed = [ReplayedQuestion.from_json(row) for row in rows(phase, "replayed")]
    found = {row.labelled.answered.question.text: (row.label, row.labelled.dropped) for row in replayed}
    # 7*8 is asked anyway, and dropped there: it has been seen.
    assert found == {
        "2+3": ("5", None),
        "8-3": ("4", "relabelled"),
        "3*3": ("9.0", None),
        "44*7-19": ("289", "relabelled"),
    }
    assert [row["dropped"] for row in rows(phase, "labelled")] == [None, "seen_before", None]


def test_the_summary_tells_the_replayed_from_the_new(label: Label) -> None:
    run, phase = label("labels.replay.questions=50")
    found, replay = summary(phase), summary(phase)["replay"]
    assert (found["labelled"], found["kept"], found["label_accuracy"]) == (3, 2, 1.0)
    assert (replay["asked"], replay["kept"]) == (4, 2)
    assert {reason: count for reason, count in replay["dropped"].items() if count} == {"relabelled": 2}
    # By exact arithmetic 5, 5 and 9 are right and 1 is not; of these 5 and 9 are kept.
    assert (replay["label_accuracy"], replay["label_accuracy_all"]) == (1.0, 0.75)
    assert replay["votes"] == 4 * 4
    drawn = sum(request.n for request in run.engines["solver"].requests if "greedy" not in request.key)
    assert drawn == 4 * (len(NEW) + 4) == sum(cost["samples"] for cost in found["costs"].values())
    assert found["label_tokens"] > replay["tokens"] > 0
    assert steps_shown(phase) == list(range(1, 9))


def test_the_band_holds_for_replayed_questions_where_that_is_configured(label: Label) -> None:
    _, phase = label("labels.replay={questions: 50, band: true}")
    dropped = {row["question"]: row["dropped"] for row in rows(phase, "replayed")}
    assert (dropped["2+3"], dropped["3*3"], dropped["8-3"]) == ("above_band", "above_band", "relabelled")


def test_votes_on_new_questions_are_those_of_a_run_without_replay(label: Label) -> None:
    run, phase = label("labels.replay.questions=2")
    keys = [request.key for request in run.engines["solver"].requests]
    alone, without = label(name="without")
    assert [key for key in keys if "replay" not in key] == [request.key for request in alone.engines["solver"].requests]
    again = [key for key in keys if "replay" in key]
    assert again == [f"0/3/labels/replay/{source}/0/{i}" for source in ("solver", "base") for i in range(2)]
    assert rows(phase, "labelled") == rows(without, "labelled")
    assert "replay" not in summary(without) and not (without.directory.path / "replayed.jsonl").exists()
    assert rows(phase, "dataset")[:2] == rows(without, "dataset")


def test_the_first_iteration_has_nothing_to_replay(scripted: Callable[..., ScriptedRun]) -> None:
    run = scripted(*SIZES, "labels.replay.questions=5")
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, "own") for text in NEW])
    run.script("solver", answer)
    phase = run.begin(PhaseName.LABELS)
    questions = Source(1, PhaseName.QUESTIONS, "questions")
    labels.run(run.ctx, phase, LabelsInputs(BASE, questions, EarlierDataSets(0), INPUTS.others))
    assert summary(phase)["replay"]["asked"] == 0 and rows(phase, "replayed") == []
    assert len(rows(phase, "dataset")) == 3


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("after", [1, 3, 5, 7])
def test_a_kill_at_any_part_leaves_the_same_bytes(label: Label, after: int) -> None:
    run, phase = label("labels.replay.questions=3")
    files = [phase.directory.path / f"{name}.jsonl" for name in ("dataset", "labelled", "replayed")]
    expected, asked = [file.read_bytes() for file in files], len(run.engines["solver"].requests)
    for file in (*files, phase.directory.manifest_path):
        file.unlink()

    phase = run.begin(PhaseName.LABELS, iteration=3)
    write, written = phase.directory.write_part, list[int]()

    def write_some(part: int, records: Iterable[Record]) -> None:
        if len(written) == after:
            raise Killed
        written.append(part)
        write(part, records)

    phase.directory.write_part = write_some  # type: ignore[method-assign]
    with pytest.raises(Killed):
        labels.run(run.ctx, phase, INPUTS)
    first = len(run.engines["solver"].requests) - asked

    phase = run.begin(PhaseName.LABELS, iteration=3)
    assert phase.directory.finished_parts() == sorted(written) and len(written) == after
    labels.run(run.ctx, phase, INPUTS)
    assert [file.read_bytes() for file in files] == expected
    # Nothing but the part that was under way is asked twice; it has two questions at most.
    again = len(run.engines["solver"].requests) - asked - first
    assert asked < first + again <= asked + 2
