"""What a Critic of either form learns from, is measured by, and is said to do."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rzero_mega import spmd
from rzero_mega.coevolution.comparisons import OrderEffects
from rzero_mega.coevolution.critic_measures import (
    Drift,
    MeasuredCritic,
    correlation_within,
    length_bias,
    reliabilities,
)
from rzero_mega.coevolution.critic_pairs import RankedPair, divided, of_kinds
from rzero_mega.coevolution.critic_pairs.intact_over_corrupted import intact_over_corrupted
from rzero_mega.coevolution.critic_pairs.recombined_over_one_shot import recombined_over_one_shot
from rzero_mega.coevolution.critic_pairs.solver_over_base import solver_over_base
from rzero_mega.coevolution.plan import Source
from rzero_mega.coevolution.scores import ScoredQuestion
from rzero_mega.coevolution.set_aside import set_aside
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.phases.context import RunContext
from rzero_mega.phases.critic_answers import Answered, Drawn
from rzero_mega.phases.scoring import quality_of
from rzero_mega.tracking.critic import measured_critic
from rzero_mega.tracking.measured import MEASURED

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gathering:
    """How material is gathered: `fits` says whether a Critic can score an answer to a question.

    `fixed_per_question` bounds the answers to a question that all Critics score; None: all of them.
    """

    fits: Callable[[str, str], bool]
    fixed_per_question: int | None


@dataclass(frozen=True)
class Material:
    """What answers give a Critic: pairs to train on and others to measure by, of `known` order.

    `answered` are (question, answer, what that is really worth) of questions on which it isn't trained; `fixed` those
    that all Critics score.
    """

    trained: list[RankedPair]
    measured: list[RankedPair]
    answered: list[tuple[str, str, float | None]]
    fixed: list[tuple[str, str]]


@dataclass(frozen=True)
class Scores:
    """What a Critic says of both answers of the pairs that it is measured by, in their order, and of the `answered`."""

    better: Sequence[float]
    worse: Sequence[float]
    answered: Sequence[float]


def answered_in(ctx: RunContext, scored: Source) -> Answered:
    """The Solver's answers to each question, whatever curation made of it."""
    found: Answered = {}
    for row in ctx.records(scored, ScoredQuestion):
        found.setdefault(row.question.text, row.answers)
    return found


def closed_before(ctx: RunContext, critic: Source) -> tuple[str, ...]:
    """The kinds that the Critic before was found not to be trusted with; none before there was one.

    None either where it takes no part: with all of them closed it would never learn again.
    """
    if critic.phase is None:
        return ()
    measured = measured_critic(ctx.run, critic.iteration)
    return measured.closed if measured.takes_part else ()


def material_of(
    ctx: RunContext,
    domain: ScoredAnswers,
    answered: Answered,
    drawn: Drawn,
    fixed: Source | None,
    closed: Sequence[str],
    how: Gathering,
) -> Material:
    """What is measured on can be scored: what is too long would count as if it were nothing in particular."""
    config = ctx.config.critic
    pairs = intact_over_corrupted(answered, domain.corruptions, ctx.config.seed)
    pairs += solver_over_base(answered, drawn.rivals) + recombined_over_one_shot(drawn.recombined, answered)
    trained, measured = divided(pairs, config.gate)
    measured = [pair for pair in measured if all(how.fits(pair.question, a) for a in (pair.better, pair.worse))]
    aside = [question for question in answered if set_aside("critic", question, config.gate.share)]
    given = ((q, answer) for q in aside for answer in _scorable(how, q, answered[q]))
    audited = [(q, answer, quality_of(domain, q, answer)) for q, answer in islice(given, config.gate.pairs)]
    first, most = answered if fixed is None else answered_in(ctx, fixed), how.fixed_per_question
    firsts = ((q, answer) for q, answers in first.items() for answer in islice(_scorable(how, q, answers), most))
    return Material(of_kinds(trained, closed), measured, audited, list(islice(firsts, config.fixed_answers)))


def _scorable(how: Gathering, question: str, answers: Sequence[str | None]) -> Iterator[str]:
    """The different answers that are there and that a Critic can score."""
    return (a for a in dict.fromkeys(answers) if a is not None and how.fits(question, a))


def facts_of(pairs: Sequence[RankedPair], closed: Sequence[str]) -> dict[str, Any]:
    """For the phase's summary: how many pairs of which kind a Critic is trained on. A warning is logged if none."""
    if not pairs:
        _log.warning("critic.train: no pair of known order is there to learn from; it stays as it is")
    return {"pairs": dict(Counter(pair.kind for pair in pairs)), "closed_before": list(closed)}


def summary_of(
    ctx: RunContext,
    material: Material,
    scores: Scores,
    drift: Drift | None,
    untrained: tuple[str, ...],
    order: OrderEffects | None = None,
) -> Mapping[str, Any]:
    """What a Critic of these scores is measured to do, which wasn't trained on some kinds, for the phase's summary."""
    answered = [(question, answer) for question, answer, _ in material.answered]
    worth = [(row, value) for row, (_, _, value) in enumerate(material.answered) if value is not None]
    rows = [row for row, _ in worth]
    quality = correlation_within(
        [material.answered[row][0] for row in rows],
        [scores.answered[row] for row in rows],
        [value for _, value in worth],
    )
    kinds, gate = reliabilities(material.measured, scores.better, scores.worse), ctx.config.critic.gate
    length = length_bias(answered, scores.answered)
    measured = MeasuredCritic(kinds, gate.minimum, length, drift, quality, untrained, order, gate.close_below)
    if spmd.rank() == 0:
        told = ", ".join(f"{kind} {found.share:.3f}" for kind, found in kinds.items()) or "none to measure by"
        part = "scores answers" if measured.takes_part else f"does not score (critic.gate.minimum {gate.minimum:g})"
        _log.info("critic: right order by kind of pair: %s; it %s", told, part)
    return {MEASURED: measured.as_json()}
