"""The GRPO steps that the phases of all roles share: roll out, reward, learn, update the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, ClassVar, Protocol

from rzero_mega.activity import Activity
from rzero_mega.coevolution.advantages import group_advantages
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.config.schema import TrainingConfig
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.learner import Learner, StepMetrics
from rzero_mega.learner.losses.objective import has_base_reference
from rzero_mega.phases.budgets import Trained, check_trainable
from rzero_mega.phases.context import ActivePhase, Role, RunContext
from rzero_mega.phases.differences import remarked
from rzero_mega.phases.prefetcher import LockableWeights, RolloutPrefetcher, Rollouts
from rzero_mega.phases.servers_watched import LEAST_S
from rzero_mega.phases.start import Start, StartFolders
from rzero_mega.phases.steps import OnFailure, Row, Steps, run_steps, train_step
from rzero_mega.rollout.protocol import RolloutEngine, Scored
from rzero_mega.weights.verification.probe import check_probe, probe_dtype

RollOut = Callable[[int, RolloutEngine], Rollouts]


class Carried(Protocol):
    """What rollouts of a step depend on besides the step."""

    def save(self, folder: Path) -> None:
        """Write it into a checkpoint's folder; rank 0 calls it."""
        ...

    def load(self, folder: Path) -> None:
        """Go on with what `save` left there; UserError if it is malformed."""
        ...


def train_policy(
    ctx: RunContext,
    phase: ActivePhase,
    role: Trained,
    start: Start | StartFolders,
    training: TrainingConfig,
    longest_prompt: int,
    roll_out: RollOut,
    facts: Mapping[str, Any] | None = None,
    carried: Carried | None = None,
    then: Callable[[Path], Mapping[str, Any]] | None = None,
) -> None:
    """Train the policy of `start` for the phase's steps and leave it as output `model`; `facts` are for the summary.

    What `roll_out` remembers from step to step it shows as `carried`. `then` finds out more of the model in the folder,
    for the summary too.

    UserError before the first step if a prompt of `longest_prompt` tokens and its response may not fit into a
    micro-batch.
    """
    check_trainable(ctx.config, role, longest_prompt)
    models = start.folders(ctx) if isinstance(start, Start) else start
    ctx.rest_servers()
    speaker: Role = "challenger" if role == "challenger" else "solver"
    # Servers with GPUs of their own start while the learner does.
    early = ctx.engine(speaker, models.policy, wait=False) if ctx.servers_apart else None
    with ctx.stopwatch.timeline.measure(Activity.START_LEARNER):
        learner = Learner(
            models.policy,
            ctx.layout,
            ctx.config.learner,
            training.grpo,
            training.optimizer.in_iteration(phase.directory.iteration),
            training.sampling.max_new_tokens,
            training.sampling.temperature,
            models.base,
            derive_seed(phase.seed_key("adapters")),
        )
    if early is not None:
        early.prepare()  # or the first step's times would have the servers' start in them
    engine = early or _engine_in_turn(ctx, learner, speaker, models.policy)
    name = f"iteration {phase.directory.iteration}, {phase.directory.phase}"
    steps = _GrpoSteps(ctx, name, learner, engine, training, roll_out, carried)
    run_steps(ctx, phase, learner, training, steps, models, facts or {}, then)


def _engine_in_turn(ctx: RunContext, learner: Learner, role: Role, model: Path) -> RolloutEngine:
    with _servers_turn(ctx, learner):
        return ctx.engine(role, model)


class _GrpoSteps(Steps):
    """Rollouts of the present policy, updates on them, and the weights' way to the engine that draws the next."""

    shown: ClassVar = {"reward": "reward_mean", "kl": "kl", "length": "response_length"}

    def __init__(
        self,
        ctx: RunContext,
        name: str,
        learner: Learner,
        engine: RolloutEngine,
        training: TrainingConfig,
        roll_out: RollOut,
        carried: Carried | None,
    ) -> None:
        """The engine has the learner's weights. `name` is the phase's, in what is logged of its steps."""
        self._carried, self._name = carried, name
        self._ctx, self._learner, self._engine, self._training = ctx, learner, engine, training
        self._weights = LockableWeights(learner.weights(engine.receivers, ctx.config.weights))
        self._prefetcher = RolloutPrefetcher(
            lambda step: roll_out(step, engine), training.ahead, training.steps, self._weights, ctx.rollout_thread
        )
        self._probed = False

    def resume(self, done: int, checkpoint: Path) -> None:
        """The engine gets the weights of the checkpoint, which may hold rollouts drawn ahead."""
        self._engine.update_weights(self._weights, version=done)
        self._prefetcher.load(checkpoint, partial(_fit, self._training))
        if self._carried is not None:
            self._carried.load(checkpoint)

    def save(self, checkpoint: Path) -> None:
        """Rollouts that are drawn ahead go into the checkpoint, and what the next ones depend on."""
        self._prefetcher.save(checkpoint)
        if self._carried is not None:
            self._carried.save(checkpoint)

    def take(self, step: int, on_failure: OnFailure) -> Row:
        """The step's row."""
        ctx = self._ctx
        due = self._probe_is_due(step)
        # The one time in a step that the learner makes way for servers: they draw, and score what is compared.
        with _servers_turn(ctx, self._learner):
            rollouts = self._prefetcher.take(step)
            theirs = self._scores(rollouts) if due else []
        sequences = _sequences(rollouts, self._training)
        probe = self._probe(sequences, theirs, step - 1) if due else {}
        with self._prefetcher.drawing_ahead(step):
            metrics, used = train_step(ctx, self._learner, sequences, on_failure)
        if step < self._training.steps:  # nobody draws with the last weights before another engine has them
            with ctx.stopwatch.measure(Activity.UPDATE.seconds):
                self._engine.update_weights(self._weights, version=step)
        row = {**_row(rollouts, metrics, probe), **used, "staleness": rollouts.staleness(step)}
        row |= remarked(f"{self._name}: step {step}", row, ctx.config)
        if not has_base_reference(self._training.grpo):
            del row["kl_base"]
        return row

    def close(self) -> None:
        """The engine goes."""
        self._engine.close()

    def _probe_is_due(self, step: int) -> bool:
        """Whether the weights before a step are compared; those before the first one that is taken always are."""
        every, first = self._ctx.config.weights.verify.probe_every, not self._probed
        self._probed = True
        return every > 0 and (first or (step - 1) % every == 0)

    def _scores(self, rollouts: Rollouts) -> list[tuple[float, ...]]:
        """The engine's log-probabilities of a few rollouts under its present weights, which are the learner's too."""
        chosen = rollouts.samples[: self._ctx.config.weights.verify.probe_sequences]
        with self._ctx.stopwatch.measure(Activity.PROBE.seconds):
            return self._engine.score([Scored(sample.prompt_tokens, sample.tokens) for sample in chosen])

    def _probe(self, sequences: Sequence[TrainingSequence], theirs: Sequence[Sequence[float]], version: int) -> Row:
        """The learner's log-probabilities against the engine's; UserError if it has other weights."""
        config = self._ctx.config
        with self._ctx.stopwatch.measure(Activity.PROBE.seconds):
            ours = self._learner.score(sequences[: len(theirs)])
        result = check_probe(ours, theirs, probe_dtype(config), config.weights.verify.probe_tolerance, str(version))
        return {"probe_difference": result.mean}


@contextmanager
def _servers_turn(ctx: RunContext, learner: Learner) -> Iterator[None]:
    """A context in which servers may use the GPUs that they share with the learner, whose memory is offloaded."""
    parking = partial(ctx.stopwatch.measure, Activity.PARK.seconds, LEAST_S)
    with ExitStack() as offloaded:
        with parking():
            offloaded.enter_context(learner.offloaded())
        yield
        ctx.rest_servers()
        with parking():
            offloaded.close()


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
