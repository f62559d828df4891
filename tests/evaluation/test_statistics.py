"""Intervals: against examples worked out elsewhere, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rzero_mega.evaluation.statistics import (
    Estimate,
    accuracy,
    between_seeds,
    detectable,
    difference,
    mean_difference,
    mean_of,
    over_seeds,
)


def test_wilson_s_interval_of_zeros_and_ones() -> None:
    found = accuracy([1.0] * 8 + [0.0] * 2)
    assert (found.value, found.items) == (0.8, 10)
    # Wilson (1927): (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), z = 1.959964.
    assert found.low == pytest.approx(0.490162, abs=1e-6) and found.high == pytest.approx(0.943317, abs=1e-6)


def test_thirty_right_of_thirty_are_not_certain() -> None:
    assert accuracy([1.0] * 30).low == pytest.approx(0.886, abs=1e-3)


def test_samples_of_a_question_are_no_questions_of_their_own() -> None:
    """A model that always or never solves a question: 32 samples of 30 questions say what one sample of each does."""
    always_or_never = [1.0] * 15 + [0.0] * 15
    half_of_the_time = [0.5 + 0.01 * (i % 2) for i in range(30)]
    wide, narrow = accuracy(always_or_never), accuracy(half_of_the_time)
    assert wide.high - wide.low > 20 * (narrow.high - narrow.low)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_an_interval_holds_its_value(scores: list[float]) -> None:
    found = accuracy(scores)
    assert -1e-9 <= found.low <= found.value + 1e-9 and found.value <= found.high + 1e-9 <= 1 + 2e-9


@pytest.mark.parametrize("per_question", [False, True])
def test_a_95_percent_interval_holds_the_truth_in_about_95_of_100_samples(per_question: bool) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        draws, p = (8, rng.beta(2, 3, 100)) if per_question else (1, np.full(100, 0.4))
        found = accuracy((rng.binomial(draws, p) / draws).tolist())
        held += found.low <= 0.4 <= found.high
    assert 178 <= held <= 199


def test_the_bootstrap_is_scipy_s() -> None:
    rng = np.random.default_rng(3)
    scores = rng.binomial(8, rng.beta(2, 3, 300)) / 8
    scipys = stats.bootstrap((scores,), np.mean, n_resamples=20_000, method="percentile", rng=rng).confidence_interval
    found = mean_of([scores.tolist()])
    width = scipys.high - scipys.low
    assert found.low == pytest.approx(scipys.low, abs=0.05 * width)
    assert found.high == pytest.approx(scipys.high, abs=0.05 * width)


def test_of_few_questions_the_bootstrap_is_that_of_all_resamples() -> None:
    """Three questions have 27 resamples: of scores 0, 0 and 1 the mean is 0 in 8 of them, and 1 in one."""
    found = difference([0.0, 0.0, 1.0], [0.0, 0.0, 0.0])
    assert (found.low, found.value, found.high) == (0.0, pytest.approx(1 / 3), 1.0)


def pairs(rng: np.random.Generator, questions: int, gained: float, lost: float) -> tuple[list[float], list[float]]:
    """Verdicts before and after, where so many more questions are gained and lost."""
    before = (rng.random(questions) < 0.5).astype(float)
    after = np.where(before == 0, rng.random(questions) < 2 * gained, rng.random(questions) >= 2 * lost).astype(float)
    return after.tolist(), before.tolist()


def test_intervals_of_differences_and_of_their_averages_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    held, held_by_mean = 0, 0
    for _ in range(200):
        after, before = pairs(rng, 200, 0.10, 0.04)
        found = difference(after, before)
        held += found.low <= 0.06 <= found.high
        others, earlier = pairs(rng, 60, 0.10, 0.04)
        mean = mean_difference([after, others], [before, earlier], [0.5, 0.5])
        held_by_mean += mean.low <= 0.06 <= mean.high
    assert 178 <= held <= 199 and 178 <= held_by_mean <= 199


def test_a_difference_that_is_called_detectable_is_detected_in_about_80_of_100_samples() -> None:
    rng = np.random.default_rng(5)
    gained, lost = 0.10, 0.04
    after, before = pairs(rng, 100_000, gained, lost)
    spread = np.std(np.subtract(after, before))
    # n questions of this spread detect a difference of 0.06: n from Miller's equation 9, solved the other way round.
    questions = round((2.801585 * spread / (gained - lost)) ** 2)
    later, earlier = pairs(rng, questions, gained, lost)
    found = detectable([later], [earlier])
    assert found == pytest.approx(gained - lost, rel=0.15)
    detected = sum(difference(*pairs(rng, questions, gained, lost)).tells_apart for _ in range(300))
    assert 215 <= detected <= 265


def test_detectable_by_hand() -> None:
    # 200 questions, of which 20 were gained and 20 lost: the differences have a standard deviation of √(0.2 · 200/199).
    after, before = [1.0, 0.0] * 20 + [1.0] * 160, [0.0, 1.0] * 20 + [1.0] * 160
    assert detectable([after], [before]) == pytest.approx(2.801585 * math.sqrt(0.2 / 199), abs=1e-6)
    # Of two such benchmarks the mean is known better, by √2.
    assert detectable([after] * 2, [before] * 2) == pytest.approx(2.801585 * math.sqrt(0.2 / 199 / 2), abs=1e-6)
    assert detectable([before], [before]) == 3 / 200


def test_a_difference_on_the_same_questions_is_known_better_than_two_accuracies() -> None:
    rng = np.random.default_rng(2)
    before = (rng.random(500) < 0.5).astype(float)
    after = np.maximum(before, rng.random(500) < 0.08)
    found = difference(after.tolist(), before.tolist())
    assert found.tells_apart and found.low > 0
    apart = accuracy(after.tolist()).low - accuracy(before.tolist()).high
    assert apart < 0


def test_no_difference_on_a_few_questions_is_no_proof_of_none() -> None:
    assert difference([1.0, 0.0] * 5, [1.0, 0.0] * 5) == Estimate(0.0, -0.3, 0.3, 10)
    assert not difference([1.0, 0.0, 1.0], [1.0, 1.0, 0.0]).tells_apart


def test_benchmarks_count_the_same_whatever_their_size() -> None:
    found = mean_of([[1.0] * 30, [0.0] * 1000])
    assert found.value == 0.5 and found.items == 1030


def test_seeds() -> None:
    found = over_seeds([60.0, 61.0, 62.0])
    # t(0.975, 2) = 4.302653, standard error 1/√3.
    assert found.value == 61.0 and found.high == pytest.approx(61 + 4.302653 / math.sqrt(3), abs=1e-5)
    assert not math.isfinite(over_seeds([60.0]).low)


def test_seeds_of_two_sets() -> None:
    found = between_seeds([60.0, 62.0], [50.0, 52.0])
    # Standard error √2 with two degrees of freedom: t(0.975, 2) = 4.302653.
    assert found.value == 10.0 and found.high == pytest.approx(10 + 4.302653 * math.sqrt(2), abs=1e-5)
    assert between_seeds([1.0, 1.0], [0.0, 0.0]) == Estimate(1.0, 1.0, 1.0, 4)


def test_agreement_on_all_benchmarks_is_no_proof_either() -> None:
    found = mean_difference([[1.0] * 30, [0.0] * 300], [[1.0] * 30, [0.0] * 300])
    assert (found.low, found.high) == pytest.approx((-0.055, 0.055))


def test_nothing_is_refused() -> None:
    for function in (accuracy, over_seeds, mean_of):
        with pytest.raises(ValueError, match="no"):
            function([])
    with pytest.raises(ValueError, match="2 scores against 1"):
        difference([1.0, 0.0], [1.0])
