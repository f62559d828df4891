from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.accumulation import accumulate
from rzero_mega.coevolution.records import TrainingQuestion

rows = st.builds(
    TrainingQuestion, st.sampled_from(["1+1", "1 + 1", " 2+2", "2+2", "3+3", "4+4"]), st.sampled_from("ab")
)
datasets = st.lists(st.lists(rows, max_size=6), max_size=4)


def same(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    return [one == other for one, other in pairs]


def key(question: str) -> str:
    return " ".join(question.split())


@given(datasets)
def test_every_question_stands_once_as_it_was_first_or_is_disputed(given_sets: list[list[TrainingQuestion]]) -> None:
    accumulated = accumulate(given_sets, same)
    everything = [row for dataset in given_sets for row in dataset]
    names = dict.fromkeys(key(row.question) for row in everything)
    agreed = [name for name in names if len({row.answer for row in everything if key(row.question) == name}) == 1]
    first = [next(row for row in everything if key(row.question) == name) for name in agreed]
    assert list(accumulated.questions) == first
    assert accumulated.disputed == len(names) - len(agreed)


@given(datasets)
def test_what_is_accumulated_is_accumulated_again_to_the_same(given_sets: list[list[TrainingQuestion]]) -> None:
    once = accumulate(given_sets, same)
    again = accumulate([once.questions], same)
    assert (again.questions, again.disputed) == (once.questions, 0)


def test_equality_is_the_grader_s_word() -> None:
    halves = [[TrainingQuestion("1/2", "0.5")], [TrainingQuestion("1/2", "1/2")]]
    assert accumulate(halves, lambda pairs: [True] * len(pairs)).questions == (halves[0][0],)
    assert accumulate(halves, lambda pairs: [False] * len(pairs)).disputed == 1
