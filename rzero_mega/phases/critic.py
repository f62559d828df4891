"""Phase between labels and solver where answers have scores: the Critic learns which answer is better, and is measured.

It takes no server: its learner's forward pass is what it scores with, and the base's answers are drawn by the Solver's.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from rzero_mega import spmd
from rzero_mega.activity import Activity
from rzero_mega.coevolution.critic_measures import (
    Drift,
    MeasuredCritic,
    correlation_within,
    length_bias,
    reliabilities,
)
from rzero_mega.coevolution.critic_pairs import RankedPair, balanced_batch, divided, of_kinds
from rzero_mega.coevolution.critic_pairs.intact_over_corrupted import intact_over_corrupted
from rzero_mega.coevolution.critic_pairs.recombined_over_one_shot import recombined_over_one_shot
from rzero_mega.coevolution.critic_pairs.solver_over_base import solver_over_base
from rzero_mega.coevolution.plan import CriticInputs, Source
from rzero_mega.coevolution.scores import ScoredQuestion
from rzero_mega.coevolution.set_aside import set_aside
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.config.schema import TrainingConfig
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.scorer import scored_sequence
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.critic_answers import Answered, Drawn, draw_for_pairs
from rzero_mega.phases.judging import AnswerScorer, AnswerTokens
from rzero_mega.phases.scoring import quality_of
from rzero_mega.phases.start import Start
from rzero_mega.phases.steps import OnFailure, Row, Steps, run_steps, train_step
from rzero_mega.tracking.critic import measured_critic
from rzero_mega.tracking.measured import MEASURED

_log = logging.getLogger(__name__)
TokenPair = tuple[tuple[int, ...], tuple[int, ...]]
"""What a Critic reads of a pair, the better answer first."""


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


def run(ctx: RunContext, phase: ActivePhase, inputs: CriticInputs) -> None:
    """Train C_{i-1} into C_i on pairs of known order, and measure which kinds of these C_i can be trusted with."""
    critic, domain = ctx.config.critic, ctx.domain.answers
    assert isinstance(domain, ScoredAnswers)  # `check_run` has seen to it
    answered = _answered(ctx, inputs.scored)
    drawn = draw_for_pairs(ctx, phase, inputs, domain, list(answered))
    closed = spmd.on_rank_0(_closed, ctx, inputs.critic)
    tokens = AnswerTokens(ctx)
    material = spmd.on_rank_0(_material, ctx, domain, answered, drawn, inputs.fixed, closed, tokens)
    shown = [(pair, _answers(tokens, pair)) for pair in material.trained]
    # A micro-batch holds both answers; a token more of each has its score's place.
    shown = [s for s in shown if max(map(len, s[1])) <= tokens.most and sum(map(len, s[1])) + 2 <= tokens.budget]
    pairs = [pair for pair, _ in shown]
    training = TrainingConfig(steps=critic.steps, optimizer=critic.optimizer)
    if not pairs:
        _log.warning("critic.train: no pair of known order is there to learn from; it stays as it is")
        training.steps = 0
    ctx.rest_servers()
    models = Start(inputs.critic).folders(ctx)
    optimizer = training.optimizer.in_iteration(phase.directory.iteration)
    with ctx.stopwatch.timeline.measure(Activity.START_LEARNER):
        learner = Learner(models.policy, ctx.layout, ctx.config.learner, critic.loss, optimizer, longest_response=1)
    steps = _PairSteps(ctx, learner, shown, derive_seed(phase.seed_key("order")))
    facts = {"pairs": dict(Counter(pair.kind for pair in pairs)), "closed_before": list(closed)}
    then = partial(_measure, ctx, inputs, material, closed)
    run_steps(ctx, phase, learner, training, steps, models, facts, then)


def _answers(tokens: AnswerTokens, pair: RankedPair) -> TokenPair:
    return tokens.of(pair.question, pair.better), tokens.of(pair.question, pair.worse)


class _PairSteps(Steps):
    """An update on the next pairs of each kind a step. Nothing but the learner has to be saved."""

    shown: ClassVar = {"loss": "loss", "norm": "grad_norm"}

    def __init__(
        self, ctx: RunContext, learner: Learner, shown: Sequence[tuple[RankedPair, TokenPair]], order: int
    ) -> None:
        """`order` names the stream of epochs' orders."""
        self._ctx, self._learner, self._order = ctx, learner, order
        self._pairs, self._answers = [pair for pair, _ in shown], [both for _, both in shown]
        self._per_step = ctx.config.critic.loss.pairs_per_update

    def take(self, step: int, on_failure: OnFailure) -> Row:
        """The step's row."""
        batch = balanced_batch(self._pairs, step, self._per_step, self._order)
        sequences = [scored_sequence(tokens) for item in batch for tokens in self._answers[item]]
        found, used = train_step(self._ctx, self._learner, sequences, on_failure)
        return {
            "loss": found.loss,
            "grad_norm": found.grad_norm,
            "updates": float(found.updates),
            "skipped_updates": found.skipped_updates,
            "tokens": float(sum(sequence.length for sequence in sequences)),
            **used,
        }


def _answered(ctx: RunContext, scored: Source) -> Answered:
    """The Solver's answers to each question, whatever curation made of it."""
    found: Answered = {}
    for row in ctx.records(scored, ScoredQuestion):
        found.setdefault(row.question.text, row.answers)
    return found


def _closed(ctx: RunContext, critic: Source) -> tuple[str, ...]:
    """The kinds that the Critic before was found not to be trusted with; none before there was one.

    None either where it takes no part: with all of them closed it would never learn again.
    """
    if critic.phase is None:
        return ()
    measured = measured_critic(ctx.run, critic.iteration)
    return measured.closed if measured.takes_part else ()


def _material(
    ctx: RunContext,
    domain: ScoredAnswers,
    answered: Answered,
    drawn: Drawn,
    fixed: Source | None,
    closed: Sequence[str],
    tokens: AnswerTokens,
) -> Material:
    """What is measured on can be scored: what is too long would count as if it were nothing in particular."""
    config = ctx.config.critic
    pairs = intact_over_corrupted(answered, domain.corruptions, ctx.config.seed)
    pairs += solver_over_base(answered, drawn.rivals) + recombined_over_one_shot(drawn.recombined, answered)
    trained, measured = divided(pairs, config.gate)
    measured = [pair for pair in measured if all(tokens.fits(pair.question, a) for a in (pair.better, pair.worse))]
    aside = [question for question in answered if set_aside("critic", question, config.gate.share)]
    given = ((q, answer) for q in aside for answer in _scorable(tokens, q, answered[q]))
    audited = [(q, answer, quality_of(domain, q, answer)) for q, answer in islice(given, config.gate.pairs)]
    first = answered if fixed is None else _answered(ctx, fixed)
    firsts = ((q, answer) for q, answers in first.items() for answer in islice(_scorable(tokens, q, answers), 1))
    return Material(of_kinds(trained, closed), measured, audited, list(islice(firsts, config.fixed_answers)))


def _scorable(tokens: AnswerTokens, question: str, answers: Sequence[str | None]) -> Iterator[str]:
    """The different answers that are there and that a Critic can score."""
    return (a for a in dict.fromkeys(answers) if a is not None and tokens.fits(question, a))


def _measure(
    ctx: RunContext, inputs: CriticInputs, material: Material, untrained: tuple[str, ...], model: Path
) -> Mapping[str, Any]:
    """What the Critic of the folder does, which wasn't trained on some kinds, for the summary. For all ranks."""
    pairs, answered = material.measured, [(question, answer) for question, answer, _ in material.answered]
    given = [
        *((pair.question, pair.better) for pair in pairs),
        *((pair.question, pair.worse) for pair in pairs),
        *answered,
        *material.fixed,
    ]
    scores = _known(AnswerScorer(ctx, model).scores(given))
    better, worse, rest = scores[: len(pairs)], scores[len(pairs) : 2 * len(pairs)], scores[2 * len(pairs) :]
    own, now = rest[: len(answered)], rest[len(answered) :]
    drift = None
    if inputs.first is not None and material.fixed:
        drift = Drift.of(_known(AnswerScorer(ctx, ctx.model(inputs.first)).scores(material.fixed)), now)
    worth = [(row, value) for row, (_, _, value) in enumerate(material.answered) if value is not None]
    rows = [row for row, _ in worth]
    quality = correlation_within(
        [material.answered[row][0] for row in rows], [own[row] for row in rows], [value for _, value in worth]
    )
    kinds, gate = reliabilities(pairs, better, worse), ctx.config.critic.gate
    measured = MeasuredCritic(kinds, gate.minimum, length_bias(answered, own), drift, quality, untrained)
    if spmd.rank() == 0:
        told = ", ".join(f"{kind} {found.share:.3f}" for kind, found in kinds.items()) or "none to measure by"
        part = "scores answers" if measured.takes_part else f"does not score (critic.gate.minimum {gate.minimum:g})"
        _log.info("critic: right order by kind of pair: %s; it %s", told, part)
    return {MEASURED: measured.as_json()}


def _known(scores: Sequence[float | None]) -> list[float]:
    """Of answers that can all be scored."""
    return [score for score in scores if score is not None]
