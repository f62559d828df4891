"""The GRPO steps that the Challenger's and the Solver's phases share: roll out, reward, learn, update the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, ClassVar

from rzero_mega.coevolution.advantages import group_advantages
from rzero_mega.config.schema import TrainingConfig
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.learner import Learner, StepMetrics
from rzero_mega.learner.losses.objective import has_base_reference
from rzero_mega.phases.budgets import check_trainable
from rzero_mega.phases.context import ActivePhase, Role, RunContext
from rzero_mega.phases.prefetcher import LockableWeights, RolloutPrefetcher, Rollouts
from rzero_mega.phases.steps import OnFailure, Row, Start, Steps, run_steps
from rzero_mega.rollout.protocol import RolloutEngine, Scored
from rzero_mega.weights.verification.probe import check_probe, probe_dtype

RollOut = Callable[[int, RolloutEngine], Rollouts]


def train_policy(
    ctx: RunContext,
    phase: ActivePhase,
    role: Role,
    start: Start,
    training: TrainingConfig,
    longest_prompt: int,
    roll_out: RollOut,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Train the policy of `start` for the phase's steps and leave it as output `model`; `facts` are for the summary.

    UserError before the first step if a prompt of `longest_prompt` tokens and its response may not fit into a
    micro-batch.
    """
    check_trainable(ctx.config, role, longest_prompt)
    ctx.rest_servers()
    models = start.folders(ctx)
    learner = Learner(
        models.policy,
        ctx.layout,
        ctx.config.learner,
        training.grpo,
        training.optimizer.in_iteration(phase.directory.iteration),
        training.sampling.max_new_tokens,
        training.sampling.temperature,
        models.base,
    )
    with _servers_turn(ctx, learner):
        engine = ctx.engine(role, models.policy)
    steps = _GrpoSteps(ctx, learner, engine, training, roll_out)
    run_steps(ctx, phase, learner, training, steps, models, facts or {})


class _GrpoSteps(Steps):
    """Rollouts of the present policy, updates on them, and the weights' way to the engine that draws the next."""

    shown: ClassVar = {"reward": "reward_mean", "kl": "kl", "length": "response_length"}

    def __init__(
        self, ctx: RunContext, learner: Learner, engine: RolloutEngine, training: TrainingConfig, roll_out: RollOut
    ) -> None:
        """The engine has the learner's weights."""
        self._ctx, self._learner, self._engine, self._training = ctx, learner, engine, training
        self._weights = LockableWeights(learner.weights(engine.receivers, ctx.config.weights))

        def draw(step: int) -> Rollouts:
            with _servers_turn(ctx, learner):
                return roll_out(step, engine)

        thread = ctx.rollout_thread
        self._prefetcher = RolloutPrefetcher(draw, training.ahead, training.steps, self._weights, thread)
        self._agreed = False

    def resume(self, done: int, checkpoint: Path) -> None:
        """The engine gets the weights of the checkpoint, which may hold rollouts drawn ahead."""
        self._engine.update_weights(self._weights, version=done)
        self._prefetcher.load(checkpoint, partial(_fit, self._training))

    def save(self, checkpoint: Path) -> None:
        """Rollouts that are drawn ahead go into the checkpoint."""
        self._prefetcher.save(checkpoint)

    def take(self, step: int, on_failure: OnFailure) -> Row:
        """The step's row."""
        ctx, engine = self._ctx, self._engine
        rollouts = self._prefetcher.take(step)
        sequences = _sequences(rollouts, self._training)
        if not self._agreed and ctx.config.weights.verify.probe_every:
            # Before the first update the two must agree, whatever would be the cause if they did not.
            self._probe(sequences, step - 1)
        self._agreed = True
        with self._prefetcher.drawing_ahead(step), ctx.stopwatch.measure("train_seconds"):
            metrics = self._learner.train_step(sequences, on_failure)
        with ctx.stopwatch.measure("update_seconds"):
            engine.update_weights(self._weights, version=step)
            probe = self._probe(sequences, step) if _probe_is_due(ctx, step) else {}
        row = {**_row(rollouts, metrics, probe), "staleness": rollouts.staleness(step)}
        if not has_base_reference(self._training.grpo):
            del row["kl_base"]
        return row

    def close(self) -> None:
        """The engine goes."""
        self._engine.close()

    def _probe(self, sequences: Sequence[TrainingSequence], step: int) -> Row:
        """Log-probabilities of a few rollouts, learner against engine; UserError if the engine has other weights."""
        config, verify = self._ctx.config, self._ctx.config.weights.verify
        chosen = sequences[: verify.probe_sequences]
        ours = self._learner.score(chosen)
        with _servers_turn(self._ctx, self._learner):
            theirs = self._engine.score([Scored(sequence.prompt, sequence.response) for sequence in chosen])
        result = check_probe(ours, theirs, probe_dtype(config), verify.probe_tolerance, str(step))
        return {"probe_difference": result.mean}


@contextmanager
def _servers_turn(ctx: RunContext, learner: Learner) -> Iterator[None]:
    """A context in which servers may use the GPUs that they share with the learner, whose memory is offloaded."""
    with learner.offloaded():
        yield
        ctx.rest_servers()


def _fit(training: TrainingConfig, rollouts: Rollouts) -> bool:
    """Whether rollouts that were drawn before the run was resumed are what a step takes now."""
    count = training.prompts_per_step * training.rollouts_per_prompt
    longest = max((len(sample.tokens) for sample in rollouts.samples), default=0)
    return len(rollouts.samples) == count and longest <= training.sampling.max_new_tokens


def _sequences(rollouts: Rollouts, training: TrainingConfig) -> list[TrainingSequence]:
    advantages = group_advantages(rollouts.rewards, training.rollouts_per_prompt, training.grpo.advantage)
    scaled = advantages.values
    if rollouts.scales is not None:
        scaled = tuple(value * scale for value, scale in zip(scaled, rollouts.scales, strict=True))
    return [
        TrainingSequence(sample.prompt_tokens, sample.tokens, sample.logprobs, advantage, keep)
        for sample, advantage, keep in zip(rollouts.samples, scaled, advantages.keep, strict=True)
    ]


def _probe_is_due(ctx: RunContext, step: int) -> bool:
    every = ctx.config.weights.verify.probe_every
    return every > 0 and step % every == 0


def _row(rollouts: Rollouts, metrics: StepMetrics, probe: Row) -> Row:
    lengths = [len(sample.tokens) for sample in rollouts.samples]
    return {
        "reward_mean": fmean(rollouts.rewards),
        "reward_std": pstdev(rollouts.rewards),
        "response_length": fmean(lengths),
        "truncated_rate": fmean(not sample.finished for sample in rollouts.samples),
        **rollouts.metrics,
        **probe,
        **asdict(metrics),
        "updates": float(metrics.updates),
    }
