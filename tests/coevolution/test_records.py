"""What phases hand on to each other survives its file, and a damaged row is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.atomic import write_jsonl
from rzero_mega.coevolution.records import (
    AnsweredQuestion,
    Answers,
    CheckedParaphrase,
    LabelledQuestion,
    ParaphrasedQuestion,
    TrainingQuestion,
    WrittenQuestion,
)
from rzero_mega.coevolution.votes import majority_vote
from rzero_mega.errors import UserError
from rzero_mega.records import Record, read_records

maybe_text = st.none() | st.text(max_size=5)
written = st.builds(WrittenQuestion, st.text(max_size=9), maybe_text)


@st.composite
def answered(draw: st.DrawFn) -> AnsweredQuestion:
    answers = tuple(draw(st.lists(maybe_text, min_size=1, max_size=5)))
    known = {answer: number for number, answer in enumerate(dict.fromkeys(answers)) if answer is not None}
    vote = majority_vote(
        [None if answer is None else known[answer] for answer in answers], answers, cut_off=answers.count(None)
    )
    return AnsweredQuestion(draw(written), vote, answers, draw(st.integers(0, 99)))


share = st.none() | st.floats(0, 1)
labelled = st.builds(
    LabelledQuestion, answered(), maybe_text, maybe_text, st.none() | st.booleans(), confidence=share, weight=share
)
several = st.lists(maybe_text, max_size=3).map(tuple)
seconds = st.floats(0, 9)
said = st.builds(Answers, several, st.integers(0, 99), st.integers(0, 3), seconds, seconds)
checked = st.builds(
    CheckedParaphrase, several, st.integers(0, 99), st.integers(0, 3), seconds, seconds, maybe_text, st.booleans()
)
paraphrased = st.builds(ParaphrasedQuestion, st.text(max_size=9), maybe_text, st.text(max_size=5), several, several)
training = st.builds(TrainingQuestion, st.text(max_size=9), st.text(max_size=5), share)


@given(written | answered() | labelled | training | said | checked | paraphrased)
def test_a_record_is_what_its_row_says(record: Record) -> None:
    assert type(record).from_json(record.as_json()) == record


def example() -> dict[str, Any]:
    vote = majority_vote([0, 0, None], ["7", "7.0", None])
    question = AnsweredQuestion(WrittenQuestion("3+4", None), vote, ("7", "7.0", None), 30)
    return LabelledQuestion(question, None, "7", True).as_json()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"question": None}, "question is of type NoneType, not str"),
        ({"own_answer": 3}, "own_answer is of type int, not str"),
        ({"count": True}, "count is of type bool, not int"),
        ({"tally": [["7", "2"]]}, "tally is of type str, not int"),
        ({"tally": [["7"]]}, "not enough values"),
        ({"answers": ["7", 7, None]}, "answers is of type int, not str"),
        ({"answers": ["7"]}, "1 answers of 3 samples"),
        ({"samples": 0, "answers": []}, "0 answers of 0 samples"),
        ({"correct": 1}, "correct is of type int, not bool"),
    ],
)
def test_a_malformed_row_is_named_by_file_and_line(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    write_jsonl(path, [example(), {**example(), **change}])
    with pytest.raises(UserError, match=rf"labelled\.jsonl: line 2 is malformed: {words}"):
        read_records(path, LabelledQuestion)
    assert len(read_records(path, LabelledQuestion, skip_malformed=True)) == 1


@pytest.mark.parametrize("key", [key for key in example() if key not in ("share", "kept")])
def test_a_row_that_lacks_a_key_is_malformed(key: str, tmp_path: Path) -> None:
    path = tmp_path / "labelled.jsonl"
    write_jsonl(path, [{name: value for name, value in example().items() if name != key}])
    with pytest.raises(UserError, match=rf"line 1 is malformed: {key} is missing"):
        read_records(path, LabelledQuestion)


def test_a_training_question_without_a_weight_has_no_word_of_it_and_a_weight_is_between_0_and_1() -> None:
    assert list(TrainingQuestion("3+4", "7").as_json()) == ["question", "answer"]
    with pytest.raises(ValueError, match=r"weight is 1\.5"):
        TrainingQuestion.from_json({"question": "3+4", "answer": "7", "weight": 1.5})


def test_share_and_kept_follow_from_the_rest() -> None:
    row = example()
    assert (row["share"], row["kept"]) == (2 / 3, True)
    assert LabelledQuestion.from_json({**row, "dropped": "above_band", "kept": True}).kept is False
