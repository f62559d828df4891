from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.solver_reward import SolverReward, format_pieces, has_format, solver_rewards
from rzero_mega.config import load_config
from rzero_mega.config.schema import SolverRewardConfig
from rzero_mega.errors import UserError

PATTERN = SolverRewardConfig().format_pattern
FORMATTED = "<think>6*7=42</think> so \\boxed{42}."


def rewards(preset: str, correct: list[bool], texts: list[str]) -> list[SolverReward]:
    return solver_rewards(correct, texts, load_config([preset]).solver.reward)


def test_the_papers_reward_is_one_or_zero() -> None:
    assert rewards("paper", [True, False], ["x", FORMATTED]) == [SolverReward(1, 1, 0), SolverReward(0, 0, 0)]


def test_the_official_reward_mixes_accuracy_and_format() -> None:
    given_rewards = rewards("official_code", [True, True, False, False], [FORMATTED, "x", FORMATTED, "x"])
    assert [reward.total for reward in given_rewards] == pytest.approx([1.0, 0.9, 0.1, 0.0])
    assert [reward.format for reward in given_rewards] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FORMATTED, True),
        ("\n  <think>\n</think>\n\\boxed{}", True),
        ("<think></think>\\boxed{1} and more", True),
        ("first <think></think>\\boxed{1}", False),
        ("<think>\\boxed{1}</think>", False),
        ("</think><think>\\boxed{1}", False),
        ("<think></think>\\boxed{1", False),
        ("<think></think>boxed{1}", False),
        ("\\boxed{1}", False),
        ("", False),
    ],
)
def test_the_official_format(text: str, expected: bool) -> None:
    assert has_format(text, format_pieces(PATTERN)) is expected


pieces = st.lists(st.sampled_from(["<think>", "</think>", "\\boxed{", "}", " ", "x", "\n"]), max_size=12).map("".join)


@given(pieces)
def test_the_format_equals_the_anchored_regular_expression(text: str) -> None:
    expected = re.match(PATTERN, text.lstrip(), re.DOTALL) is not None
    assert has_format(text, format_pieces(PATTERN)) == expected


@given(st.lists(st.text("ab.*", max_size=3), min_size=1, max_size=4), st.text("ab.*", max_size=8))
def test_any_pattern_of_literals_equals_the_regular_expression(literals: list[str], text: str) -> None:
    pattern = ".*".join(re.escape(literal) for literal in literals)
    assert format_pieces(pattern) == tuple(literals)
    assert has_format(text, format_pieces(pattern)) == (re.match(pattern, text, re.DOTALL) is not None)


def test_hostile_repetition_takes_linear_time() -> None:
    # A backtracking engine needs the cube of these repetitions.
    text = "<think>" + "</think>" * 50_000 + "\\boxed{" * 50_000
    assert rewards("official_code", [False], [text])[0].format == 0
    assert rewards("official_code", [False], [text + "}"])[0].format == 1


@pytest.mark.parametrize("pattern", ["(a+)+b", "a*", "[ab]", "a|b", "^a", r"\d", "a.b", "a?", "a\\"])
def test_other_regular_expressions_are_refused_by_key(pattern: str) -> None:
    config = SolverRewardConfig(format_weight=0.1, format_pattern=pattern)
    with pytest.raises(UserError, match=r"solver\.reward\.format_pattern"):
        solver_rewards([True], ["a"], config)


def test_every_response_needs_a_grade() -> None:
    with pytest.raises(ValueError):
        rewards("paper", [True], [])
