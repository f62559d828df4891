"""Written solutions of the arithmetic world: right without slips, plausible with them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.evaluation.arithmetic import LEVELS, random_expression, truth
from rzero_mega.evaluation.clock import LEVELS as CLOCK_LEVELS
from rzero_mega.evaluation.clock import clock_truth, random_clock_question
from tools.written_arithmetic import boxed_integer, slip_weight, solution, solver_prompt, written_steps

levels = st.sampled_from(sorted(LEVELS))
clock_levels = st.sampled_from(CLOCK_LEVELS)
seeds = st.integers(0, 2**32)


@given(levels, seeds)
def test_solutions_without_slips_are_right_in_every_step(level: int, seed: int) -> None:
    rng = Random(seed)
    expression = random_expression(level, rng)
    written = solution(expression, rng, slip=0.0)
    assert boxed_integer(written) == str(truth(expression))
    assert len(list(written_steps(written))) == LEVELS[level].operands - 1
    assert_every_step_is_right(written)


@given(levels, seeds, st.floats(0, 1))
def test_taking_numbers_apart_keeps_a_solution_right(level: int, seed: int, split: float) -> None:
    rng = Random(seed)
    expression = random_expression(level, rng)
    written = solution(expression, rng, slip=0.0, split=split)
    assert boxed_integer(written) == str(truth(expression))
    assert_every_step_is_right(written)


@given(levels, seeds)
def test_every_step_of_a_solution_with_slips_is_an_expression(level: int, seed: int) -> None:
    rng = Random(seed)
    written = solution(random_expression(level, rng), rng, slip=0.5, split=0.5)
    assert all(truth(step) is not None for step in written_steps(written))


@given(clock_levels, seeds, st.floats(0, 1))
def test_a_solution_on_a_clock_is_right_in_every_step(level: int, seed: int, split: float) -> None:
    rng = Random(seed)
    question = random_clock_question(level, rng)
    written = solution(question, rng, slip=0.0, split=split)
    assert boxed_integer(written) == str(clock_truth(question))
    assert_every_step_is_right(written)


@given(clock_levels, seeds)
def test_every_step_of_a_solution_on_a_clock_with_slips_is_an_expression(level: int, seed: int) -> None:
    rng = Random(seed)
    written = solution(random_clock_question(level, rng), rng, slip=0.5, split=0.5)
    assert all(truth(step) is not None for step in written_steps(written))


def assert_every_step_is_right(written: str) -> None:
    steps = [step.split("=") for step in written.split("\\boxed")[0].split(";")]
    assert [left for left, _ in steps] == list(written_steps(written))
    assert all(truth(left) == int(right) for left, right in steps)


def test_a_solution_has_the_documented_form() -> None:
    assert solution("12*3+5", Random(0), slip=0.0) == "12*3=36;36+5=41\\boxed{41}"
    assert solution("47+38", Random(0), slip=0.0, split=1.0) == "47+30=77;77+8=85\\boxed{85}"
    assert solution("47*6", Random(0), slip=0.0, split=1.0) == "40*6=240;7*6=42;240+40=280;280+2=282\\boxed{282}"
    assert solver_prompt("12*3+5") == "Q:12*3+5\nA:"


@pytest.mark.parametrize(
    ("question", "written"),
    [
        ("(12*3+5)%13", "12*3=36;36+5=41;13*3=39;41-39=2\\boxed{2}"),
        ("(12*3+5)%31", "12*3=36;36+5=41;41-31=10\\boxed{10}"),  # once round: no product
        ("(7+8)%20", "7+8=15\\boxed{15}"),  # not round at all
        ("(3-50)%12", "3-50=-47;12*4=48;-47+48=1\\boxed{1}"),
        ("(3-5)%12", "3-5=-2;-2+12=10\\boxed{10}"),
    ],
)
def test_a_solution_on_a_clock_goes_on_with_its_full_turns(question: str, written: str) -> None:
    assert solution(question, Random(0), slip=0.0) == written


def test_products_are_worked_out_before_sums() -> None:
    assert solution("7-2*3*4", Random(0), slip=0.0) == "2*3=6;6*4=24;7-24=-17\\boxed{-17}"


def test_slips_happen_at_the_asked_rate_and_the_solution_goes_on_from_them() -> None:
    rng = Random(1)
    written = [solution("12+34", rng, slip=0.25) for _ in range(4000)]
    wrong = [text for text in written if boxed_integer(text) != "46"]
    expected = 0.25 * slip_weight(12, "+", 34)
    assert abs(len(wrong) / len(written) - expected) < 0.03
    for text in wrong:
        value = int(text.split("=")[1].split("\\")[0])
        assert boxed_integer(text) == str(value)
        assert abs(value - 46) in (1, 2, 10)


def test_harder_steps_slip_more_often() -> None:
    def wrong(expression: str) -> int:
        rng = Random(2)
        return sum(boxed_integer(solution(expression, rng, 0.3)) != str(truth(expression)) for _ in range(3000))

    assert wrong("300*6") < wrong("23+45") < wrong("234*5")


def test_a_malformed_expression_has_no_solution() -> None:
    for text in ("1+", "(1+)%7", "(1+2)%0"):
        with pytest.raises(ValueError, match="not an arithmetic expression"):
            solution(text, Random(0), slip=0.0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("\\boxed{41}", "41"),
        ("\\boxed{1};\\boxed{ -07 }", "-7"),
        ("\\boxed{1}\\boxed{x}", None),
        ("\\boxed{}", None),
        ("\\boxed{1", None),
        ("41", None),
        ("\\boxed{" + "9" * 5000 + "}", None),
    ],
)
def test_the_last_box_is_read_as_an_integer(text: str, answer: str | None) -> None:
    assert boxed_integer(text) == answer
