"""The arithmetic world: exact truth and a stable held-out split."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.domains.arithmetic.expressions import (
    LEVELS,
    MAX_EXPRESSION_CHARS,
    ArithmeticProblem,
    held_out_set,
    is_held_out,
    random_expression,
    truth,
)

levels = st.sampled_from(sorted(LEVELS))
seeds = st.integers(0, 2**32)


@st.composite
def sums_of_products(draw: st.DrawFn) -> tuple[str, int]:
    """An expression as signed products, with its value from Python's integers."""
    products = draw(st.lists(st.lists(st.integers(0, 9999), min_size=1, max_size=3), min_size=1, max_size=4))
    signs = [draw(st.sampled_from([1, -1])) for _ in products]
    text, total = "", 0
    for index, (sign, factors) in enumerate(zip(signs, products, strict=True)):
        text += ("-" if sign < 0 else "+" if index else "") + "*".join(map(str, factors))
        value = sign
        for factor in factors:
            value *= factor
        total += value
    return text, total


@given(sums_of_products())
def test_truth_agrees_with_integer_arithmetic(case: tuple[str, int]) -> None:
    text, value = case
    assert truth(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "-", "+1", "1+", "1--2", "1+-2", "--1", "1**2", "1/2", "(1+2)", "1 + 2", "1+2\n", "0x10", "1_0", "1e3", "x",
     "1.5", "²", "٣+1", "1+2=3", "__import__('os')", "1" * (MAX_EXPRESSION_CHARS + 1), "1+" * 10**6 + "1"],
)  # fmt: skip
def test_truth_of_malformed_text_is_none(text: str) -> None:
    assert truth(text) is None
    assert not is_held_out(text)


@given(st.text(alphabet="0123456789+-*/() .=x", max_size=80))
def test_truth_never_raises_on_arbitrary_text(text: str) -> None:
    value = truth(text)
    assert value is None or abs(value) < 10**MAX_EXPRESSION_CHARS


def test_the_held_out_set_is_the_golden_one() -> None:
    problems = held_out_set()
    assert [problems[index] for index in (0, 100, 200, 300, 400, 499)] == GOLDEN


def test_the_held_out_set_has_500_distinct_held_out_problems_with_right_answers() -> None:
    problems = held_out_set()
    assert [problem.level for problem in problems] == [level for level in sorted(LEVELS) for _ in range(100)]
    assert len({problem.expression for problem in problems}) == 500
    for problem in problems:
        assert is_held_out(problem.expression)
        assert problem.answer == str(truth(problem.expression))


def test_a_smaller_held_out_set_of_level_1_is_a_prefix_of_the_larger_one() -> None:
    assert held_out_set(10)[:10] == held_out_set(100)[:10]


def test_a_held_out_set_larger_than_the_level_is_refused() -> None:
    with pytest.raises(ValueError, match="level 1 has fewer than 2000"):
        held_out_set(2000)


def test_about_a_sixteenth_of_the_expressions_of_each_level_is_held_out() -> None:
    for level in LEVELS:
        rng = Random(level)
        distinct = {random_expression(level, rng) for _ in range(8000)}
        assert 0.04 < sum(map(is_held_out, distinct)) / len(distinct) < 0.08


def test_elementary_facts_and_bare_numbers_are_never_held_out() -> None:
    facts = [f"{left}{operator}{right}" for left in range(10) for operator in "+-*" for right in range(10)]
    assert not any(is_held_out(text) for text in [*facts, *map(str, range(1000))])


def test_the_split_does_not_depend_on_leading_zeros() -> None:
    expression = held_out_set(1)[0].expression
    assert is_held_out("00" + expression)


@given(levels, seeds)
def test_random_expressions_have_the_shape_of_their_level(level: int, seed: int) -> None:
    expression = random_expression(level, Random(seed))
    spec = LEVELS[level]
    operators = [character for character in expression if not character.isdigit()]
    numbers = expression.replace("-", "+").replace("*", "+").split("+")
    assert truth(expression) is not None
    assert len(numbers) == spec.operands
    assert set(operators) <= set(spec.operators)
    assert all(len(number) <= spec.digits and number == str(int(number)) for number in numbers)
    assert all(len(number) == 1 for operator, number in zip(operators, numbers[1:], strict=True) if operator == "*")


GOLDEN = [
    ArithmeticProblem(1, "5-65", "-60"),
    ArithmeticProblem(2, "78*6", "468"),
    ArithmeticProblem(3, "0+77*3", "231"),
    ArithmeticProblem(4, "9*7-23", "40"),
    ArithmeticProblem(5, "368-248-725+342", "-263"),
    ArithmeticProblem(5, "1*2-763-8", "-769"),
]
