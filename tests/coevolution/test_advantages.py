from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.advantages import group_advantages
from rzero_mega.config import load_config
from rzero_mega.config.schema import AdvantageConfig

SAMPLE = load_config(["paper"]).challenger.training.grpo.advantage


def test_rewards_are_normalised_within_their_own_group() -> None:
    advantages = group_advantages([0, 1, 0, 1, 10, 10, 10, 14], 4, AdvantageConfig(ddof=1, epsilon=0.0))
    half = 3**0.5 / 2
    assert advantages.values == pytest.approx([-half, half, -half, half, -0.5, -0.5, -0.5, 1.5])
    assert all(advantages.keep)


def test_the_deviation_is_that_of_the_sample_or_of_the_population() -> None:
    population = group_advantages([0.0, 2.0], 2, AdvantageConfig(ddof=0, epsilon=0.0))
    assert population.values == (-1.0, 1.0)
    sample = group_advantages([0.0, 2.0], 2, AdvantageConfig(ddof=1, epsilon=0.0))
    assert sample.values == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_epsilon_is_added_to_the_deviation() -> None:
    advantages = group_advantages([0.0, 2.0], 2, AdvantageConfig(ddof=0, epsilon=1.0))
    assert advantages.values == (-0.5, 0.5)


@given(st.floats(-2, 2), st.integers(2, 9), st.sampled_from([0.0, 1e-6]), st.booleans())
def test_a_group_of_equal_rewards_gets_exact_zeros(reward: float, size: int, epsilon: float, drop: bool) -> None:
    config = AdvantageConfig(epsilon=epsilon, drop_zero_variance=drop)
    advantages = group_advantages([reward] * size, size, config)
    assert advantages.values == (0.0,) * size
    assert advantages.keep == (not drop,) * size


def test_only_groups_without_variance_are_dropped() -> None:
    advantages = group_advantages([1, 1, 0, 1], 2, AdvantageConfig(drop_zero_variance=True))
    assert advantages.keep == (False, False, True, True)


@given(st.lists(st.lists(st.floats(-2, 2), min_size=4, max_size=4), max_size=5))
def test_advantages_follow_the_definition(groups: list[list[float]]) -> None:
    rewards = [reward for group in groups for reward in group]
    values = group_advantages(rewards, 4, SAMPLE).values
    for index, group in enumerate(groups):
        mean, deviation = statistics.fmean(group), statistics.stdev(group)
        expected = [(reward - mean) / (deviation + 1e-6) for reward in group]
        assert values[4 * index : 4 * index + 4] == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("rewards", "size"), [([1.0], 2), ([1.0, 2.0], 1), ([1.0, float("nan")], 2)])
def test_impossible_groups_are_refused(rewards: list[float], size: int) -> None:
    with pytest.raises(ValueError):
        group_advantages(rewards, size, SAMPLE)


def test_no_rewards_give_no_advantages() -> None:
    assert group_advantages([], 4, SAMPLE).values == ()
