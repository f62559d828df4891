"""Phase between labels and solver where answers have scores: the Critic learns which answer is better, and is measured.

The base's answers are drawn by the Solver's servers. A scalar Critic takes none: its learner's forward pass is what it
scores with. A generative one is trained in a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from rzero_mega import spmd
from rzero_mega.activity import Activity
from rzero_mega.coevolution.critic_measures import Drift
from rzero_mega.coevolution.critic_pairs import RankedPair, balanced_batch
from rzero_mega.coevolution.plan import CriticInputs
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.config.schema import TrainingConfig
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.scorer import scored_sequence
from rzero_mega.phases import generative_critic
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.critic_answers import draw_for_pairs
from rzero_mega.phases.critic_material import (
    Gathering,
    Material,
    Scores,
    answered_in,
    closed_before,
    facts_of,
    material_of,
    summary_of,
)
from rzero_mega.phases.critic_scoring import AnswerScorer, AnswerTokens
from rzero_mega.phases.start import Start
from rzero_mega.phases.steps import OnFailure, Row, Steps, run_steps, train_step

TokenPair = tuple[tuple[int, ...], tuple[int, ...]]
"""What a Critic reads of a pair, the better answer first."""


def run(ctx: RunContext, phase: ActivePhase, inputs: CriticInputs) -> None:
    """Train C_{i-1} into C_i on pairs of known order, and measure which kinds of these C_i can be trusted with."""
    domain, generative = ctx.domain.answers, ctx.config.critic.generative
    assert isinstance(domain, ScoredAnswers)  # `check_run` has seen to it
    answered = answered_in(ctx, inputs.scored)
    drawn = draw_for_pairs(ctx, phase, inputs, domain, list(answered))
    closed = spmd.on_rank_0(closed_before, ctx, inputs.critic)
    how = generative_critic.gathering(ctx) if generative else Gathering(AnswerTokens(ctx).fits, fixed_per_question=1)
    material = spmd.on_rank_0(material_of, ctx, domain, answered, drawn, inputs.fixed, closed, how)
    train = generative_critic.train if generative else _train
    train(ctx, phase, inputs, material, closed)


def _train(
    ctx: RunContext, phase: ActivePhase, inputs: CriticInputs, material: Material, closed: tuple[str, ...]
) -> None:
    critic, tokens = ctx.config.critic, AnswerTokens(ctx)
    shown = [(pair, _answers(tokens, pair)) for pair in material.trained]
    # A micro-batch holds both answers; a token more of each has its score's place.
    shown = [s for s in shown if max(map(len, s[1])) <= tokens.most and sum(map(len, s[1])) + 2 <= tokens.budget]
    pairs = [pair for pair, _ in shown]
    training = TrainingConfig(steps=critic.steps, optimizer=critic.optimizer)
    facts = facts_of(pairs, closed)
    if not pairs:
        training.steps = 0
    ctx.rest_servers()
    models = Start(inputs.critic).folders(ctx)
    optimizer = training.optimizer.in_iteration(phase.directory.iteration)
    with ctx.stopwatch.timeline.measure(Activity.START_LEARNER):
        learner = Learner(models.policy, ctx.layout, ctx.config.learner, critic.loss, optimizer, longest_response=1)
    steps = _PairSteps(ctx, learner, shown, derive_seed(phase.seed_key("order")))
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
    return summary_of(ctx, material, Scores(better, worse, own), drift, untrained)


def _known(scores: Sequence[float | None]) -> list[float]:
    """Of answers that can all be scored."""
    return [score for score in scores if score is not None]
