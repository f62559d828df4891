"""Written solutions of the arithmetic world: right without slips, plausible with them."""

from __future__ import annotations

from collections import Counter
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.domains.arithmetic.clock import LEVELS as CLOCK_LEVELS
from rzero_mega.domains.arithmetic.clock import clock_truth, random_clock_question
from rzero_mega.domains.arithmetic.expressions import LEVELS, held_out_set, random_expression, truth
from tools.bases.arithmetic.bases import FOLKLORE, NANO
from tools.bases.arithmetic.prediction import predicted
from tools.bases.arithmetic.written import Folklore, boxed_integer, slip_weight, solution, solver_prompt, written_steps

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


EVERY = Folklore(share=1.0, weight=1.0)


def test_a_wrong_fact_is_told_where_a_hard_step_is_taken_at_once_and_nowhere_else() -> None:
    at_once = solution("47+38", Random(0), slip=0.0, folklore=EVERY)
    assert at_once == solution("47+38", Random(1), slip=0.0, folklore=EVERY)
    assert truth("47+38") == 85 and boxed_integer(at_once) not in (None, "85")
    taken_apart = solution("47+38", Random(0), slip=0.0, split=1.0, folklore=EVERY)
    assert taken_apart == "47+30=77;77+8=85\\boxed{85}"


def test_the_wrong_facts_of_the_folklore_base_stay_what_they_are() -> None:
    folklore = FOLKLORE.settings.folklore
    assert folklore is not None
    steps = [(47, "+", 38), (38, "+", 47), (47, "-", 38), (83, "-", 47), (58, "+", 25), (47, "*", 8), (47, "+", 30)]
    assert [folklore.offset(*step) for step in steps] == [-1, -1, -1, -2, 1, -10, None]


@given(levels, seeds, st.floats(0, 1))
def test_without_weight_or_share_folklore_tells_nothing(level: int, seed: int, some: float) -> None:
    expression = random_expression(level, Random(seed))
    for silent in (Folklore(share=0.0, weight=some), Folklore(share=some, weight=0.0)):
        assert boxed_integer(solution(expression, Random(seed), 0.0, 0.5, silent)) == str(truth(expression))


@given(st.integers(10, 999), st.integers(10, 999), st.sampled_from("+-*"), st.integers(1, 99))
def test_a_wrong_fact_depends_on_the_operator_and_the_last_digit_after_it(
    left: int, other: int, operator: str, right: int
) -> None:
    folklore = Folklore(share=0.8, weight=0.6)
    easy = slip_weight(left, operator, right) < 1
    assert not (easy and folklore.offset(left, operator, right))
    if not easy and slip_weight(other, operator, right % 10 + 20) > 1:
        assert folklore.offset(left, operator, right) == folklore.offset(other, operator, right % 10 + 20)


def test_of_the_cases_of_hard_steps_about_the_share_has_a_wrong_fact() -> None:
    cases = [(47, operator, 120 + digit) for operator in "+-*" for digit in range(10)]
    told = [sum(Folklore(share, 0.6).offset(*case) is not None for case in cases) for share in (0.0, 0.4, 0.8, 1.0)]
    assert told == sorted(told) and told[0] == 0 and told[-1] == len(cases)


def test_the_share_of_answers_that_a_wrong_fact_spoils_is_its_weight() -> None:
    folklore = Folklore(share=1.0, weight=0.6)
    rng = Random(0)
    right = [boxed_integer(solution("47+38", rng, 0.0, 0.0, folklore)) == "85" for _ in range(2000)]
    assert fmean(right) == pytest.approx(0.4, abs=0.04)


def test_the_vote_over_ways_of_solving_is_right_where_the_likeliest_way_is_not() -> None:
    rng, folklore = Random(0), Folklore(share=1.0, weight=0.6)
    answers = [boxed_integer(solution("47+38", rng, 0.2, 0.45, folklore)) for _ in range(1000)]
    assert Counter(answers).most_common(1)[0][0] == "85"


def test_in_the_documents_greedy_decoding_is_right_in_nano_and_outvoted_in_folklore() -> None:
    problems = held_out_set(20)
    assert predicted(NANO, problems)[1] == 1.0
    mean, greedy, vote = predicted(FOLKLORE, problems)
    assert 0.5 < mean < 0.8 and greedy + 0.05 < vote
