"""The GRPO loop that the Challenger's and the Solver's phases share: roll out, reward, learn, update the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean, pstdev

from torch import Tensor

from rzero_mega import spmd
from rzero_mega.atomic import atomic_folder
from rzero_mega.coevolution.advantages import group_advantages
from rzero_mega.coevolution.plan import Source
from rzero_mega.config.schema import TrainingConfig
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.learner import Learner, StepMetrics
from rzero_mega.phases.budgets import check_trainable
from rzero_mega.phases.checkpoints import Checkpoints
from rzero_mega.phases.context import ActivePhase, Role, RunContext
from rzero_mega.phases.failures import FailurePolicy
from rzero_mega.phases.prefetcher import LockableWeights, RolloutPrefetcher, Rollouts
from rzero_mega.rollout.protocol import RolloutEngine, Scored
from rzero_mega.run import PhaseDirectory
from rzero_mega.weights.hf_folder import write_hf_folder
from rzero_mega.weights.sources import WeightSource, tensors_of
from rzero_mega.weights.verification.probe import check_probe, probe_dtype

RollOut = Callable[[int, RolloutEngine], Rollouts]


def train_policy(
    ctx: RunContext,
    phase: ActivePhase,
    role: Role,
    start: Source,
    training: TrainingConfig,
    longest_prompt: int,
    roll_out: RollOut,
) -> None:
    """Train the model of `start` for the phase's steps and leave it as output `model`.

    Goes on from the last checkpoint; the steps after it are done again and come out the same. UserError before the
    first step if a prompt of `longest_prompt` tokens and its response may not fit into a micro-batch.
    """
    check_trainable(ctx.config, role, longest_prompt)
    ctx.rest_servers()
    model = ctx.model(start)
    learner = Learner(
        model,
        ctx.layout,
        ctx.config.learner,
        training.grpo,
        training.optimizer,
        training.sampling.max_new_tokens,
        training.sampling.temperature,
    )
    with _servers_turn(ctx, learner):
        engine = ctx.engine(role, model)
    weights = LockableWeights(learner.weights(engine.receivers, ctx.config.weights))

    def draw(step: int) -> Rollouts:
        with _servers_turn(ctx, learner):
            return roll_out(step, engine)

    prefetcher = RolloutPrefetcher(draw, training.ahead, training.steps, weights, ctx.rollout_thread)
    done = _resume(phase.directory, learner, engine, weights, prefetcher, training)
    checkpoints = Checkpoints(phase.directory, learner, ctx.config.learner.checkpoint, prefetcher.save)
    failures = FailurePolicy(ctx, phase, learner)
    phase.bar.advance(done)
    for step in range(done + 1, training.steps + 1):
        began = time.perf_counter()
        rollouts = prefetcher.take(step)
        sequences = _sequences(rollouts, training)
        if step == done + 1 and ctx.config.weights.verify.probe_every:
            # Before the first update the two must agree, whatever would be the cause if they did not.
            _probe(ctx, learner, engine, sequences, done)
        with prefetcher.drawing_ahead(step), ctx.stopwatch.measure("train_seconds"):
            metrics = learner.train_step(sequences, failures.at(step))
        with ctx.stopwatch.measure("update_seconds"):
            engine.update_weights(weights, version=step)
            probe = _probe(ctx, learner, engine, sequences, step) if _probe_is_due(ctx, step) else {}
        if step == (training.use_step or training.steps):
            _write_model(ctx, phase.directory, learner)
        seconds = {**ctx.stopwatch.take(), "step_seconds": time.perf_counter() - began}
        row = {**_row(rollouts, metrics, probe, seconds), "staleness": rollouts.staleness(step)}
        row["learning_rate"] = training.optimizer.learning_rate
        _log(ctx, phase.directory, step, row)
        checkpoints.after_step(step, last=training.steps)
        phase.bar.advance(step, reward=row["reward_mean"], kl=row["kl"], length=row["response_length"])
        if step < training.steps:
            ctx.stop_if_asked(checkpoints.save_now, step)
    if done == training.steps and training.use_step is None:
        _write_model(ctx, phase.directory, learner)
    engine.close()
    checkpoints.finish()
    spmd.on_rank_0(_finish, phase.directory)


@contextmanager
def _servers_turn(ctx: RunContext, learner: Learner) -> Iterator[None]:
    """A context in which servers may use the GPUs that they share with the learner, whose memory is offloaded."""
    with learner.offloaded():
        yield
        ctx.rest_servers()


def _resume(
    directory: PhaseDirectory,
    learner: Learner,
    engine: RolloutEngine,
    weights: WeightSource,
    prefetcher: RolloutPrefetcher,
    training: TrainingConfig,
) -> int:
    """Go on from the last checkpoint, if there is one; the number of steps that are done."""
    checkpoint = spmd.on_rank_0(directory.latest_checkpoint)
    done = 0
    if checkpoint is not None:
        done = learner.load(checkpoint[1])
        engine.update_weights(weights, version=done)
        prefetcher.load(checkpoint[1], partial(_fit, training))
    spmd.on_rank_0(directory.truncate_metrics, done)
    return done


def _fit(training: TrainingConfig, rollouts: Rollouts) -> bool:
    """Whether rollouts that were drawn before the run was resumed are what a step takes now."""
    count = training.prompts_per_step * training.rollouts_per_prompt
    longest = max((len(sample.tokens) for sample in rollouts.samples), default=0)
    return len(rollouts.samples) == count and longest <= training.sampling.max_new_tokens


def _sequences(rollouts: Rollouts, training: TrainingConfig) -> list[TrainingSequence]:
    advantages = group_advantages(rollouts.rewards, training.rollouts_per_prompt, training.grpo.advantage)
    return [
        TrainingSequence(sample.prompt_tokens, sample.tokens, sample.logprobs, advantage, keep)
        for sample, advantage, keep in zip(rollouts.samples, advantages.values, advantages.keep, strict=True)
    ]


def _log(ctx: RunContext, directory: PhaseDirectory, step: int, row: Mapping[str, float]) -> None:
    spmd.on_rank_0(directory.log_step, step, row)
    if ctx.wandb is not None:
        ctx.wandb.sync()


def _probe_is_due(ctx: RunContext, step: int) -> bool:
    every = ctx.config.weights.verify.probe_every
    return every > 0 and step % every == 0


def _probe(
    ctx: RunContext, learner: Learner, engine: RolloutEngine, sequences: Sequence[TrainingSequence], step: int
) -> dict[str, float]:
    """Log-probabilities of a few rollouts, learner against engine; UserError if the engine has other weights."""
    config, verify = ctx.config, ctx.config.weights.verify
    chosen = sequences[: verify.probe_sequences]
    ours = learner.score(chosen)
    with _servers_turn(ctx, learner):
        theirs = engine.score([Scored(sequence.prompt, sequence.response) for sequence in chosen])
    result = check_probe(ours, theirs, probe_dtype(config), verify.probe_tolerance, str(step))
    return {"probe_difference": result.mean}


def _write_model(ctx: RunContext, directory: PhaseDirectory, learner: Learner) -> None:
    """The present weights as a Hugging Face folder. All ranks take part in gathering, rank 0 writes."""
    tensors = tensors_of(learner.weights([0], ctx.config.weights))
    spmd.rank_0_writes(tensors, _write_folder, directory.path / "model", tensors, ctx.base)


def _write_folder(path: Path, tensors: Iterable[tuple[str, Tensor]], base: Path) -> None:
    with atomic_folder(path) as folder:
        write_hf_folder(folder, tensors, base)


def _row(
    rollouts: Rollouts, metrics: StepMetrics, probe: Mapping[str, float], seconds: Mapping[str, float]
) -> dict[str, float]:
    lengths = [len(sample.tokens) for sample in rollouts.samples]
    learned = asdict(metrics)
    return {
        "reward_mean": fmean(rollouts.rewards),
        "reward_std": pstdev(rollouts.rewards),
        "response_length": fmean(lengths),
        "truncated_rate": fmean(not sample.finished for sample in rollouts.samples),
        **rollouts.metrics,
        **probe,
        **{name: learned[name] for name in learned if name not in ("tokens", "updates")},
        "updates": float(metrics.updates),
        "tokens_per_second": metrics.tokens / max(1e-9, seconds["step_seconds"]),
        **{what: round(value, 4) for what, value in seconds.items()},
    }


def _finish(directory: PhaseDirectory) -> None:
    """The summary has the mean over the steps of everything that the last one logged."""
    rows = directory.metrics()
    names = [name for name in (rows[-1] if rows else {}) if name != "step"]
    means = {name: fmean(row[name] for row in rows if name in row) for name in names}
    directory.finish({"model": Path("model")}, means)
