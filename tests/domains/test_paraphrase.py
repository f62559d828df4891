"""A paraphrase is asked if it is another text with the same numbers, to which the checker gives the same answer."""

from __future__ import annotations

import pytest

from rzero_mega.domains.reexpression.form import Form
from rzero_mega.domains.reexpression.paraphrase import (
    Paraphrases,
    Verdict,
    first_verdict,
    numbers,
    same_majority,
)

QUESTION = "Tom has 1,200 apples and buys 5.5 more. How many has he?"


@pytest.mark.parametrize(
    ("paraphrase", "verdict"),
    [
        (None, Verdict.UNPARSED),
        (QUESTION, Verdict.SAME),
        ("tom has 1,200 apples\n and buys 5.5 more. HOW many has he?", Verdict.SAME),
        ("To his 1200 apples Tom adds 5.5. What has he now?", None),
        ("Tom buys 5.5 apples. He had 1,200 apples before.", None),
        ("Tom has 1200 apples and buys some. How many has he?", Verdict.NUMBERS),
        ("Tom has 1200 apples and buys 5 more. How many has he?", Verdict.NUMBERS),
        ("Tom has 1200 apples, buys 5.5 and has 1205.5. How many has he?", Verdict.NUMBERS),
    ],
)
def test_what_speaks_against_a_paraphrase_before_anybody_is_asked(paraphrase: str | None, verdict: str | None) -> None:
    assert first_verdict(QUESTION, paraphrase) == verdict


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,234,567 and 0.5", {"1234567", "0.5"}),
        ("3, 4, and 5.", {"3", "4", "5"}),
        ("in 1999,12 of 7", {"1999", "12", "7"}),
        ("a 3-4 b", {"3", "4"}),
        ("no numeral: five", set()),
    ],
)
def test_numerals_of_a_text(text: str, found: set[str]) -> None:
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("classes", "same"),
    [
        ([0, 0, 1, 0, 1, 0], True),
        ([0, 0, 1, 1, 1, 0], False),
        # Of classes with as many votes none is the majority.
        ([0, 1, 0, 1], False),
        ([0, 1, 2, 0, 3, 4], False),
        ([0, 0, 1, 0, 2, 3], False),
        ([5, 5], True),
        # A sample without an answer is no vote.
        ([None, None, 3, 3, None, None], True),
        ([None, None, 3, 3], False),
        ([None, None, None, None], False),
        ([], False),
    ],
)
def test_majorities_are_the_same_if_both_halves_have_one_and_it_is_one_class(
    classes: list[int | None], same: bool
) -> None:
    assert same_majority(classes) is same


def test_a_question_has_its_paraphrase_or_no_other_form() -> None:
    forms = Paraphrases({"What is 3 + 2?": "What is 2 more than 3?"})
    assert forms("What is 3 + 2?", 3) == [Form("What is 2 more than 3?")]
    assert list(forms("What is 4 + 2?", 3)) == [] and list(forms("What is 3 + 2?", 0)) == []
    assert [form.restore("5") for form in forms("What is 3 + 2?", 1)] == ["5"]
