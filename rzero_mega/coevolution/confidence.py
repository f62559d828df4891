"""How likely labels are right, told without truth from where the sources of a panel agree and where they don't.

The model: a question has one right answer, or none among those that were given. What share of a source's votes is right
differs from question to question (beta-binomial: a model that errs does so again), and all wrong votes on a question
are drawn from one urn, in which an answer that was drawn gets likelier (Chinese restaurant process: models err alike).
The shares' distributions, one for each source, and the urn are fitted to all votes of an iteration by maximum
likelihood. A source that is often sure of what no other says gets little say by that.

Sources have more in common than the model knows: what is hard for one is hard for all, so that the posterior is too
sure of itself. The evidence is raised to a power below 1 (as in generalised Bayes, arXiv 1412.3730): the one by which
the votes of each source are foretold best from those of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, digamma, expit, gammaln

from rzero_mega.coevolution.votes import Vote

Floats = NDArray[np.float64]

POWERS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of the evidence: those that are tried."""

# The scale of a normal distribution over every logarithm of a shape, which keeps a fit to few votes finite.
_PRIOR_SCALE = 2.0


def label_confidence(votes: Sequence[Vote]) -> list[float]:
    """The probability that the label is right, for every vote of a panel; 0 where there is none.

    ValueError for votes of a single source, or of different panels.
    """
    answered = [vote for vote in votes if vote.answer is not None]
    if not answered:
        return [0.0] * len(votes)
    samples = _samples(answered)
    found = _Hypotheses.of([_by_class(vote) for vote in answered], samples)
    shapes = _fitted(found)
    posterior = iter(_posterior(found, shapes.evidence(found), _power(found, shapes)))
    return [0.0 if vote.answer is None else next(posterior) for vote in votes]


def _samples(votes: Sequence[Vote]) -> Floats:
    panels = {tuple((source.source, source.samples) for source in vote.by_source) for vote in votes}
    if len(panels) != 1 or len(panel := next(iter(panels))) < 2:
        raise ValueError("confidence takes votes of one panel, of two sources or more")
    return np.array([samples for _, samples in panel], dtype=np.float64)


def _by_class(vote: Vote) -> Floats:
    """Votes for each answer by source, the label's first, [answers, sources]."""
    return np.array([source.tally for source in vote.by_source], dtype=np.float64).T


@dataclass(frozen=True)
class _Hypotheses:
    """Which answer to each question is right: a row for each that was given and one for none of them.

    The rows of a question are next to each other from `starts` [questions] on, its label's first and "none" last.
    `right` [rows, sources] are the votes that are right by the hypothesis. Of the wrong ones the urn is told how many
    there are, of how many different answers, and the sum of ln gamma(votes for an answer).
    """

    starts: NDArray[np.intp]
    samples: Floats
    right: Floats
    none: NDArray[np.bool_]
    wrong: Floats
    different: Floats
    repeated: Floats

    @classmethod
    def of(cls, tables: Sequence[Floats], samples: Floats) -> _Hypotheses:
        """Of votes by answer and source, [answers, sources] a question; an answer may have none of these votes."""
        rows = [np.vstack([table, np.zeros_like(samples)]) for table in tables]
        ends = np.cumsum([len(row) for row in rows])
        starts = np.concatenate([[0], ends[:-1]])
        right = np.concatenate(rows)
        none = np.zeros(len(right), dtype=np.bool_)
        none[ends - 1] = True
        given = right.sum(1)
        repeats = np.where(given > 0, gammaln(np.maximum(given, 1)), 0.0)

        def of_others(values: Floats) -> Floats:
            return np.repeat(np.add.reduceat(values, starts), np.diff([*starts, len(right)])) - values

        different = of_others((given > 0).astype(np.float64))
        return cls(starts, samples, right, none, of_others(given), different, of_others(repeats))

    def without(self, source: int) -> _Hypotheses:
        """The same hypotheses on the votes of all other sources."""
        others = np.delete(np.arange(len(self.samples)), source)
        bounds = [*self.starts, len(self.right)]
        tables = [self.right[start : end - 1, others] for start, end in pairwise(bounds)]
        return _Hypotheses.of(tables, self.samples[others])

    def total(self, evidence: Floats) -> Floats:
        """ln of the sum over each question's hypotheses, [questions]."""
        return np.asarray(np.logaddexp.reduceat(evidence, self.starts))

    def spread(self, values: Floats) -> Floats:
        """A value of each question for all of its rows."""
        return np.repeat(values, np.diff([*self.starts, len(self.right)]))


@dataclass(frozen=True)
class _Shapes:
    """What is fitted: beta distributions of the right share, [sources]; the urn; how often no answer is right."""

    right: Floats
    wrong: Floats
    urn: float
    none: float

    @classmethod
    def of(cls, parameters: Floats) -> _Shapes:
        """From logarithms and, for the share, a logit: [2 sources + 2]."""
        sources = (len(parameters) - 2) // 2
        shapes = np.exp(parameters[:-1])
        return cls(shapes[:sources], shapes[sources:-1], float(shapes[-1]), float(expit(parameters[-1])))

    def without(self, source: int) -> _Shapes:
        """The same for all other sources."""
        return _Shapes(np.delete(self.right, source), np.delete(self.wrong, source), self.urn, self.none)

    def evidence(self, found: _Hypotheses) -> Floats:
        """ln P(hypothesis and all votes), [rows]; of different answers, each is as likely to be the right one."""
        shares = betaln(found.right + self.right, found.samples - found.right + self.wrong)
        urn = found.different * np.log(self.urn) + found.repeated
        urn += gammaln(self.urn) - gammaln(self.urn + found.wrong)
        prior = np.where(found.none, np.log(self.none), np.log1p(-self.none))
        return np.asarray((shares - betaln(self.right, self.wrong)).sum(1) + urn + prior)


def _fitted(found: _Hypotheses) -> _Shapes:
    """The shapes under which the votes are most likely."""
    sources, questions = len(found.samples), len(found.starts)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        shapes = _Shapes.of(parameters)
        evidence = shapes.evidence(found)
        total = found.total(evidence)
        weights = np.exp(evidence - found.spread(total))
        slope = _slope(found, shapes, weights, questions)
        slope[:-1] -= parameters[:-1] / _PRIOR_SCALE**2
        penalty = 0.5 * float((parameters[:-1] ** 2).sum()) / _PRIOR_SCALE**2
        return penalty - float(total.sum()), -slope

    start = np.concatenate([np.zeros(2 * sources + 1), [-3.0]])
    bounds = [(-4.0, 5.0)] * (2 * sources + 1) + [(-7.0, 0.0)]
    found_minimum: Any = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return _Shapes.of(found_minimum.x)


def _slope(found: _Hypotheses, shapes: _Shapes, weights: Floats, questions: int) -> Floats:
    """The gradient of the votes' log-likelihood by the parameters; `weights` are the hypotheses' posteriors."""
    wrong_votes, row_weights = found.samples - found.right, weights[:, None]
    both = digamma(shapes.right + shapes.wrong) - digamma(shapes.right + shapes.wrong + found.samples)
    right = row_weights * (digamma(found.right + shapes.right) - digamma(shapes.right) + both)
    wrong = row_weights * (digamma(wrong_votes + shapes.wrong) - digamma(shapes.wrong) + both)
    urn = found.different / shapes.urn + digamma(shapes.urn) - digamma(shapes.urn + found.wrong)
    return np.concatenate(
        [
            right.sum(0) * shapes.right,
            wrong.sum(0) * shapes.wrong,
            [float(weights @ urn) * shapes.urn, float(weights[found.none].sum()) - questions * shapes.none],
        ]
    )


def _power(found: _Hypotheses, shapes: _Shapes) -> float:
    """The power of the evidence under which the votes of each source are foretold best from those of all others."""
    everything, foretold = shapes.evidence(found), dict.fromkeys(POWERS, 0.0)
    for source in range(len(found.samples)):
        others = found.without(source)
        before = shapes.without(source).evidence(others)
        for power in POWERS:
            tempered = power * before
            gained = found.total(tempered + everything - before) - found.total(tempered)
            foretold[power] += float(gained.sum())
    return max(POWERS, key=lambda power: foretold[power])


def _posterior(found: _Hypotheses, evidence: Floats, power: float) -> list[float]:
    """Of each question's label, which is its first hypothesis."""
    tempered = power * evidence
    labels = np.exp(tempered[found.starts] - found.total(tempered))
    return [float(probability) for probability in labels]
