"""What a sample of questions tells: accuracies and their differences, with 95 % intervals.

The unit is the question, whose score is the mean over its samples: questions are independent, a question's samples are
not. Intervals are Wilson's where every score is 0 or 1 and nothing is compared, the bootstrap's elsewhere, and over
seeds Student's. Miller, Adding Error Bars to Evals (arXiv 2411.00640), is the reason for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
POWER = 0.8
"""How often a difference that is called detectable is detected."""
RESAMPLES = 4_000
"""With so many, an end of a 95 % interval varies by about 2 % of its width from one seed to another."""


@dataclass(frozen=True)
class Estimate:
    """A value from so many questions, or seeds, and the interval that holds the true one in 95 % of samples."""

    value: float
    low: float
    high: float
    items: int

    @property
    def tells_apart(self) -> bool:
        """Of a difference: whether its interval leaves out zero."""
        return self.low > 0 or self.high < 0


def accuracy(scores: Sequence[float]) -> Estimate:
    """Mean of the questions' scores, each from 0 to 1. ValueError without questions."""
    values = _array(scores)
    if np.isin(values, (0, 1)).all():
        found = stats.binomtest(int(values.sum()), len(values)).proportion_ci(CONFIDENCE, method="wilson")
        return Estimate(float(values.mean()), float(found.low), float(found.high), len(values))
    return mean_of([scores])


def difference(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Mean difference of two models' scores on the same questions in the same order; see `mean_difference`."""
    return mean_difference([after], [before])


def mean_of(groups: Sequence[Sequence[float]], weights: Sequence[float] | None = None) -> Estimate:
    """Mean over benchmarks of their accuracies: each counts the same, whatever its size.

    `weights`, if given, are as many as benchmarks and add up to 1. ValueError without benchmarks or questions.
    """
    return _weighted([_array(scores) for scores in groups], weights)


def mean_difference(
    after: Sequence[Sequence[float]], before: Sequence[Sequence[float]], weights: Sequence[float] | None = None
) -> Estimate:
    """Mean over benchmarks of the mean difference on the same questions in the same order.

    ValueError if they are not as many. Where all scores agree, the interval is the rule of three's: up to 3 in n
    questions may still differ.
    """
    deltas = _deltas(after, before)
    found = _weighted(deltas, weights)
    if any(values.any() for values in deltas):
        return found
    bound = float(np.average([min(1.0, 3 / len(values)) for values in deltas], weights=weights))
    return Estimate(0.0, -bound, bound, found.items)


def detectable(
    after: Sequence[Sequence[float]], before: Sequence[Sequence[float]], weights: Sequence[float] | None = None
) -> float:
    """The smallest difference that as many such questions tell from none in 80 of 100 samples of them.

    By the spread of the questions' differences, of which each must have one at least: Miller, equation 9. Where all
    scores agree there is no spread to go by, and it is the rule of three's bound.
    """
    deltas = _deltas(after, before)
    if not any(values.any() for values in deltas):
        return mean_difference(after, before, weights).high
    shares = np.full(len(deltas), 1 / len(deltas)) if weights is None else np.asarray(weights)
    errors = np.array([stats.sem(values) if len(values) > 1 else 0.0 for values in deltas])
    quantiles = stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(POWER)
    return float(quantiles * np.linalg.norm(shares * errors))


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean of a result over runs that differ in their seed, by Student's t; the interval of one run has no bounds."""
    array = _array(values)
    if len(array) == 1:
        return Estimate(float(array[0]), -np.inf, np.inf, 1)
    half = float(stats.sem(array)) * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1))
    mean = float(array.mean())
    return Estimate(mean, mean - half, mean + half, len(array))


def slope(values: Sequence[float]) -> float:
    """Of the line through evenly spaced values, by least squares, per step."""
    return float(stats.linregress(np.arange(len(values)), _array(values)).slope)


def between_seeds(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Difference of the means of two sets of runs, two at least in each, that have other seeds, by Welch's t."""
    later, earlier = _array(after), _array(before)
    mean, runs = float(later.mean() - earlier.mean()), len(later) + len(earlier)
    if np.ptp(later) == np.ptp(earlier) == 0:  # scipy has no interval without any spread
        return Estimate(mean, mean, mean, runs)
    found = stats.ttest_ind(later, earlier, equal_var=False).confidence_interval(CONFIDENCE)
    return Estimate(mean, float(found.low), float(found.high), runs)


def _deltas(after: Sequence[Sequence[float]], before: Sequence[Sequence[float]]) -> list[NDArray[np.float64]]:
    for later, earlier in zip(after, before, strict=True):
        if len(later) != len(earlier):
            raise ValueError(f"{len(later)} scores against {len(earlier)}")
    return [_array(later) - _array(earlier) for later, earlier in zip(after, before, strict=True)]


def _weighted(arrays: Sequence[NDArray[np.float64]], weights: Sequence[float] | None) -> Estimate:
    """The weighted mean of the arrays' means, with the bootstrap's percentiles, each array resampled by itself."""
    if not arrays:
        raise ValueError("no benchmarks")
    rng = np.random.default_rng(0)
    means = np.array([_resampled_means(values, rng) for values in arrays])
    low, high = np.quantile(np.average(means, axis=0, weights=weights), ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    value = float(np.average([values.mean() for values in arrays], weights=weights))
    return Estimate(value, float(low), float(high), sum(map(len, arrays)))


def _resampled_means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of as many values drawn with replacement, [RESAMPLES].

    How often each distinct value is drawn is multinomial. There are few of them, so that this takes a millisecond where
    scipy.stats.bootstrap, which draws every question by itself, takes seconds for tens of thousands.
    """
    distinct, counts = np.unique(values, return_counts=True)
    drawn = rng.multinomial(len(values), counts / len(values), RESAMPLES)
    return np.asarray(drawn @ distinct / len(values), dtype=np.float64)


def _array(scores: Sequence[float]) -> NDArray[np.float64]:
    if not len(scores):
        raise ValueError("no scores")
    return np.asarray(scores, dtype=np.float64)
