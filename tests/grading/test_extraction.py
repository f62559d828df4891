"""extract_answer: the last balanced box, or None."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.grading import extract_answer
from rzero_mega.grading.text.extraction import MAX_ANSWER_CHARS, MAX_TEXT_CHARS


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed{a \\{b}}", r"a \\{b}"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed {  8 }", "8"),
        (r"\boxed{3} and then \boxed{4", "3"),
        (r"an open { before \boxed{5}", "5"),
        (r"a stray } before \boxed{6}", "6"),
        (r"\boxed{\text{no } solution}", r"\text{no } solution"),
    ],
)
def test_last_balanced_box_is_the_answer(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "42",
        r"\boxed",
        r"\boxed{",
        r"\boxed{4",
        r"\boxed{}",
        r"\boxed{  }",
        r"\boxed{$ $}",
        r"\boxed{\,\quad}",
        "boxed{4}",
    ],
)
def test_no_box_or_a_blank_one_is_no_answer(text: str) -> None:
    assert extract_answer(text) is None


def test_blank_last_box_is_no_answer_even_after_a_full_one() -> None:
    assert extract_answer(r"\boxed{3} \boxed{}") is None


def test_runaway_content_is_no_answer() -> None:
    assert extract_answer(r"\boxed{" + "1" * (MAX_ANSWER_CHARS + 1) + "}") is None
    assert extract_answer(r"\boxed{" + "1" * MAX_ANSWER_CHARS + "}") == "1" * MAX_ANSWER_CHARS


def test_only_the_end_of_an_endless_text_is_read() -> None:
    assert extract_answer(r"\boxed{1}" + " " * MAX_TEXT_CHARS) is None
    assert extract_answer(" " * (2 * MAX_TEXT_CHARS) + r"\boxed{1}") == "1"


@pytest.mark.parametrize("unit", ["{", "}", r"\boxed{", r"\boxed", r"\boxed    ", "\\", r"\boxed{}", "\x00"])
def test_repeated_nuisances_are_read_once_through(unit: str) -> None:
    """Anything worse than linear would not come back from a million characters."""
    text = unit * (MAX_TEXT_CHARS // len(unit) - 10)
    assert extract_answer(text + "}" * 3 + r"\boxed{9}") == "9"


@given(st.text(), st.text(alphabet="0123456789abc+-", min_size=1))
def test_a_box_at_the_end_is_found_after_any_text_without_an_odd_backslash(before: str, answer: str) -> None:
    assert extract_answer(before.rstrip("\\") + r" \boxed{" + answer + "}") == answer


@given(st.text(alphabet="\\boxed{} 1$"))
def test_any_text_gives_a_stripped_answer_or_none(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or (answer and answer == answer.strip() and answer in text)
