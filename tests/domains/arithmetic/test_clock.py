"""Clock arithmetic: exact truth, a stable held-out split, and no question that is an expression as well."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.domains.arithmetic.clock import (
    LEVELS,
    MAX_HOURS,
    MAX_TURNS,
    MIN_HOURS,
    clock_truth,
    held_out_clock_set,
    is_clock_held_out,
    parse_clock,
    random_clock_question,
)
from rzero_mega.domains.arithmetic.expressions import LEVELS as EXPRESSION_LEVELS
from rzero_mega.domains.arithmetic.expressions import (
    MAX_EXPRESSION_CHARS,
    ArithmeticProblem,
    parse,
    random_expression,
    truth,
)
from rzero_mega.domains.arithmetic.oracle import true_answer

levels = st.sampled_from(LEVELS)
seeds = st.integers(0, 2**32)
numbers = st.integers(0, 99_999)


@given(numbers, numbers, numbers, st.integers(1, 9999))
def test_truth_is_python_s_remainder(first: int, second: int, third: int, hours: int) -> None:
    assert clock_truth(f"({first}-{second}*{third})%{hours}") == (first - second * third) % hours


@pytest.mark.parametrize(
    ("question", "value"),
    [("(12*3+5)%31", 10), ("(3-5)%12", 10), ("(-1)%7", 6), ("(007+5)%012", 0), ("(5)%9999", 5), ("(4*3)%1", 0)],
)
def test_truth_of_questions_that_none_is_drawn_like(question: str, value: int) -> None:
    assert clock_truth(question) == value


@pytest.mark.parametrize(
    "text",
    ["", "12*3+5", "12*3+5%31", "(12*3+5)", "(12*3+5)%", "(12*3+5)%0", "(12*3+5)%000", "(12*3+5)%-31", "((1+2))%3",
     "(1+2)*2%3", "(1+)%31", "()%31", "(1 + 2)%31", "(1+2) %31", "(1+2)%31\n", "(1+2)%12345", "(1+2)%3²", "(1+2)%٣",
     "(1/2)%3", "(1.5)%3", "(" + "1" * MAX_EXPRESSION_CHARS + ")%7", "(" * 10**5, "(" + "1+" * 10**6 + "1)%7"],
)  # fmt: skip
def test_malformed_text_has_no_truth(text: str) -> None:
    assert clock_truth(text) is None
    assert parse_clock(text) is None
    assert not is_clock_held_out(text)


@given(st.text(alphabet="0123456789+-*()% .", max_size=80))
def test_truth_never_raises_on_arbitrary_text_and_lies_on_the_clock(text: str) -> None:
    clock, value = parse_clock(text), clock_truth(text)
    assert (clock is None) == (value is None)
    assert clock is None or value is None or 0 <= value < clock.hours


@given(levels, seeds)
def test_no_question_of_one_family_is_one_of_the_other(level: int, seed: int) -> None:
    question = random_clock_question(level, Random(seed))
    assert parse(question) is None and truth(question) is None and true_answer(question) is None
    assert true_answer(f"What is {question}?") is None
    assert parse_clock(random_expression(level, Random(seed))) is None


@given(levels, seeds)
def test_random_questions_have_the_shape_of_their_level(level: int, seed: int) -> None:
    clock = parse_clock(random_clock_question(level, Random(seed)))
    assert clock is not None
    chain, value = parse(clock.expression), truth(clock.expression)
    assert chain is not None and value is not None
    assert len(chain.numbers) == EXPRESSION_LEVELS[level].operands
    assert MIN_HOURS <= clock.hours <= MAX_HOURS
    assert 1 <= value // clock.hours <= MAX_TURNS


def test_the_held_out_set_is_the_golden_one() -> None:
    problems = held_out_clock_set()
    assert [problems[index] for index in (0, 84, 168, 251)] == GOLDEN


def test_the_held_out_set_has_252_distinct_held_out_problems_with_right_answers() -> None:
    problems = held_out_clock_set()
    assert [problem.level for problem in problems] == [level for level in LEVELS for _ in range(84)]
    assert len({problem.expression for problem in problems}) == 252
    for problem in problems:
        assert is_clock_held_out(problem.expression)
        assert problem.answer == str(clock_truth(problem.expression))


def test_the_most_frequent_answer_is_right_less_than_once_in_twenty() -> None:
    answers = Counter(problem.answer for problem in held_out_clock_set())
    assert answers.most_common(1)[0][1] < 252 / 20
    assert len(answers) > 60


def test_about_a_sixteenth_of_the_questions_of_each_level_is_held_out() -> None:
    for level in LEVELS:
        rng = Random(level)
        distinct = {random_clock_question(level, rng) for _ in range(8000)}
        assert 0.05 < sum(map(is_clock_held_out, distinct)) / len(distinct) < 0.075


def test_the_split_does_not_depend_on_leading_zeros() -> None:
    question = held_out_clock_set(1)[0].expression
    assert is_clock_held_out(question.replace("(", "(00").replace("%", "%0"))


GOLDEN = [
    ArithmeticProblem(1, "(34+1)%30", "5"),
    ArithmeticProblem(2, "(2+28)%17", "13"),
    ArithmeticProblem(3, "(51*8-15)%92", "25"),
    ArithmeticProblem(3, "(2+61*5)%97", "16"),
]
