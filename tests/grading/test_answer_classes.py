"""Votes by class: independent of the order of answers, and sound where answers leave something out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rzero_mega.grading import equivalent
from rzero_mega.grading.answers.classes import Pair, equivalence_classes

ANSWERS = [
    "5", "10/2", "5 cm", "5 m", "0.05 m", "500 cm", "x=5", "y=5", "x = 5 cm", r"50\%", "50", "0.5", r"\frac12",
    r"90^\circ", "90", r"\frac{\pi}{2}", "1011_2", "1011", "11", r"3 \pmod 7", r"10 \pmod 7", "3", r"3 \pmod 5",
    r"\log 2", r"\ln 2", r"\log_{10} 2", "3:45", "3:45 pm", "3:45 am", "1/12", "(A) 5", "A", "(1,2)",
    r"\{1,2\}", "1, 2", r"\sqrt{8}", r"2\sqrt2", "no solution", r"\emptyset", "x > 3", "y > 3", r"(3,\infty)",
    "yes", None,
]  # fmt: skip


equivalent_once = lru_cache(equivalent)


def decide(pairs: Sequence[Pair]) -> list[bool]:
    return [equivalent_once(a, b) for a, b in pairs]


def classes(answers: Sequence[str | None]) -> list[int | None]:
    return equivalence_classes([answers], decide)[0]


def partition(answers: Sequence[str | None]) -> set[frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for number, answer in zip(classes(answers), answers, strict=True):
        assert (number is None) == (answer is None)
        if number is not None and answer is not None:
            groups.setdefault(number, set()).add(answer)
    return {frozenset(group) for group in groups.values()}


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["5", "5 cm", "5 m"], [0, 1, 2]),
        (["5", "5 cm"], [0, 0]),
        (["5 cm", "0.05 m", "5"], [0, 0, 0]),
        (["5 cm", "5 mm"], [0, 1]),
        (["x=5", "5", "10/2"], [0, 0, 0]),
        (["x=5", "y=5", "5"], [0, 1, 2]),
        ([r"50\%", "0.5", "1/2"], [0, 0, 0]),
        ([r"50\%", "50"], [0, 0]),
        ([r"50\%", "0.5", "50"], [0, 0, 0]),
        (["50", "0.5"], [0, 1]),
        ([r"\log 2", r"\ln 2"], [0, 1]),
        ([r"\log 2", r"\ln 2", r"\log_{10} 2"], [0, 1, 2]),
        (["3:45 pm", "15:45"], [0, 1]),
        (["3:45 pm", "3:45", "3:45 am"], [0, 1, 2]),
        ([r"2516_8", "1358"], [0, 1]),
        ([r"2516_8", "2516", "1358"], [0, 0, 1]),
        (["25=x^2+y^2", "16=x^2+y^2"], [0, 1]),
        (["(A) 5", "A", "(A) 6"], [0, 1, 2]),
        (["no", "no solution", None, r"\emptyset"], [0, 1, None, 1]),
        ([], []),
    ],
)
def test_an_answer_that_leaves_something_out_joins_what_it_can_only_mean(
    answers: list[str | None], expected: list[int | None]
) -> None:
    assert classes(answers) == expected


def test_one_more_answer_can_part_those_that_agreed_and_take_a_majority_away() -> None:
    agreed = ["5"] * 4 + ["5 cm"] * 4
    assert classes(agreed) == [0] * 8
    assert classes([*agreed, "5 m"]) == [0] * 4 + [1] * 4 + [2]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.sampled_from(ANSWERS), max_size=12).flatmap(
        lambda found: st.tuples(st.just(found), st.permutations(found))
    )
)
def test_grouping_does_not_depend_on_the_order_of_answers(both: tuple[list[str | None], list[str | None]]) -> None:
    assert partition(both[0]) == partition(both[1])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(ANSWERS), max_size=12))
def test_a_class_is_numbered_by_its_first_answer_and_equal_texts_share_one(answers: list[str | None]) -> None:
    numbers = classes(answers)
    seen: list[int] = []
    for number in numbers:
        if number is not None and number not in seen:
            assert number == len(seen)
            seen.append(number)
    for (a, first), (b, second) in combinations(zip(answers, numbers, strict=True), 2):
        if a is not None and a == b:
            assert first == second


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 5, 100, 500]), st.sampled_from(["", " cm", " m", " km", " hours", " apples"])),
        max_size=10,
    )
)
def test_quantities_share_a_class_exactly_if_they_are_equal(quantities: list[tuple[int, str]]) -> None:
    answers = [f"{number}{unit}" for number, unit in quantities]
    numbers = classes(answers)
    for (a, first), (b, second) in combinations(zip(answers, numbers, strict=True), 2):
        if " " in a and " " in b:
            assert (first == second) is equivalent_once(a, b)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(ANSWERS), min_size=2, max_size=10))
def test_answers_of_one_class_agree_with_a_chain_of_others_of_it(answers: list[str | None]) -> None:
    for group in partition(answers):
        reached = {min(group)}
        while more := {a for a in group - reached if any(equivalent_once(a, b) for b in reached)}:
            reached |= more
        assert reached == group


def test_pairs_left_open_are_asked_about_at_once() -> None:
    asked: list[Sequence[Pair]] = []

    def note(pairs: Sequence[Pair]) -> list[bool]:
        asked.append(pairs)
        return [True] * len(pairs)

    hard = [r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"]
    assert equivalence_classes([hard, ["1", "2"], hard], note) == [[0, 0], [0, 1], [0, 0]]
    assert [len(pairs) for pairs in asked] == [2]
