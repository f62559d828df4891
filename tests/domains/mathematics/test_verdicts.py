"""Verdicts are read as they are written, and altered answers are wrong."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.domains.mathematics.verdicts import alter, read_verdict, write_verdict


@pytest.mark.parametrize("right", [True, False])
def test_a_written_verdict_is_read(right: bool) -> None:
    assert read_verdict(write_verdict(right)) is right


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        (r"5 + 5 = 10, and not 11: \boxed{No}", False),
        (r"\boxed{no} ... on second thoughts \boxed{\text{Yes}}", True),
        (r"\boxed{yes, it is}", None),
        (r"\boxed{42}", None),
        ("yes", None),
        ("", None),
    ],
)
def test_the_last_box_is_the_verdict_and_anything_but_yes_or_no_is_none(text: str, verdict: bool | None) -> None:
    assert read_verdict(text) is verdict


@given(st.integers(-(10**15), 10**15), st.integers(0, 10**6))
def test_an_altered_integer_is_another_integer(number: int, seed: int) -> None:
    wrong = alter(str(number), Random(seed))
    assert wrong is not None and int(wrong) != number and str(int(wrong)) in (wrong, wrong.removeprefix("-"))


@pytest.mark.parametrize("answer", [r"\frac{3}{14}", "x + 10", "(2, 5)", "5 km"])
def test_of_other_answers_one_numeral_changes(answer: str) -> None:
    wrong = {alter(answer, Random(seed)) for seed in range(50)}
    assert len(wrong) > 4 and answer not in wrong and all(len(str(text)) == len(answer) for text in wrong)


@pytest.mark.parametrize("answer", ["x", "", "3.25", "1,000", "yes"])
def test_an_answer_without_a_plain_numeral_is_not_altered(answer: str) -> None:
    assert alter(answer, Random(0)) is None


@given(st.text(max_size=200), st.integers(0, 100))
def test_whatever_stands_there_nothing_is_raised(text: str, seed: int) -> None:
    read_verdict(text)
    altered = alter(text, Random(seed))
    assert altered is None or altered != text
