"""What a sample of questions tells: accuracies and their differences, with 95 % intervals.

The unit is the question, whose score is the mean over its samples: questions are independent, a question's samples are
not. Intervals are scipy's: Wilson's where every score is 0 or 1 and nothing is compared, the bootstrap elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 4_000
"""With so many, an end of a 95 % interval varies by about 2 % of its width from one seed to another."""


@dataclass(frozen=True)
class Estimate:
    """A value from `items` questions, and the interval that holds the true one in 95 % of samples."""

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
    return _bootstrapped(values)


def difference(after: Sequence[float], before: Sequence[float]) -> Estimate:
    """Mean difference of two models' scores on the same questions in the same order.

    ValueError if they are not as many. Where all scores agree, the interval is the rule of three's: up to 3 in n
    questions may still differ.
    """
    if len(after) != len(before):
        raise ValueError(f"{len(after)} scores against {len(before)}")
    deltas = _array(after) - _array(before)
    if not deltas.any():
        bound = min(1.0, 3 / len(deltas))
        return Estimate(0.0, -bound, bound, len(deltas))
    return _bootstrapped(deltas)


def mean_of(groups: Sequence[Sequence[float]], weights: Sequence[float] | None = None) -> Estimate:
    """Mean over benchmarks of their accuracies, or of their differences: each counts the same, whatever its size.

    `weights`, if given, are as many as benchmarks and add up to 1.
    """
    arrays = [_array(scores) for scores in groups]
    if not arrays:
        raise ValueError("no benchmarks")
    rng = np.random.default_rng(0)
    means = np.array([rng.choice(values, (RESAMPLES, len(values))).mean(axis=1) for values in arrays])
    draws = np.average(means, axis=0, weights=weights)
    low, high = np.quantile(draws, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    value = float(np.average([values.mean() for values in arrays], weights=weights))
    return Estimate(value, float(low), float(high), sum(map(len, arrays)))


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean of a result over runs that differ in their seed, by Student's t; the interval of one run has no bounds."""
    array = _array(values)
    if len(array) == 1:
        return Estimate(float(array[0]), -np.inf, np.inf, 1)
    half = float(stats.sem(array)) * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1))
    mean = float(array.mean())
    return Estimate(mean, mean - half, mean + half, len(array))


def _bootstrapped(values: NDArray[np.float64]) -> Estimate:
    mean = float(values.mean())
    if np.ptp(values) == 0:
        return Estimate(mean, mean, mean, len(values))
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // len(values)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high), len(values))


def _array(scores: Sequence[float]) -> NDArray[np.float64]:
    if not len(scores):
        raise ValueError("no scores")
    return np.asarray(scores, dtype=np.float64)
