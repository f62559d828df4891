"""Labelled fine-tuning: the Solver's phase on data with known answers, by GRPO or by supervised fine-tuning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import ClassVar

from rzero_mega import spmd
from rzero_mega.activity import Activity
from rzero_mega.coevolution.plan import LabelledInputs, solver_batch
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.config.schema.labelled import SFT
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.learner import Learner
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.labelled_data import EncodedExample, examples_per_step, training_data
from rzero_mega.phases.solver import by_labels, train_on
from rzero_mega.phases.start import Start
from rzero_mega.phases.steps import OnFailure, Row, Steps, run_steps, train_step

_log = logging.getLogger(__name__)


def run(ctx: RunContext, phase: ActivePhase, inputs: LabelledInputs) -> None:
    """Train S_{i-1} into S_i on the labelled data."""
    config, start = ctx.config, Start(inputs.solver, inputs.base)
    data = training_data(config, ctx.labelled, ctx.benchmarks, ctx.encoder, ctx.solver_prompt, ctx.base)
    epochs = data.epochs(config.solver.training.steps, examples_per_step(config))
    if spmd.rank() == 0:
        _log.info("labelled.data: %s, %.3g epochs of them", data.in_words(), epochs)
    facts = {"examples": len(data.examples), "dropped": data.dropped, "epochs": epochs}
    if config.labelled.method == SFT:
        _fine_tune(ctx, phase, start, data.examples, facts)
        return
    prompts, answers = [item.prompt for item in data.examples], [item.answer for item in data.examples]
    train_on(ctx, phase, start, prompts, by_labels(ctx, answers), facts)


def _fine_tune(
    ctx: RunContext, phase: ActivePhase, start: Start, examples: Sequence[EncodedExample], facts: dict[str, object]
) -> None:
    ctx.rest_servers()
    training, loss = ctx.config.solver.training, ctx.config.labelled.sft
    longest, models = max(len(example.target) for example in examples), start.folders(ctx)
    optimizer = training.optimizer.in_iteration(phase.directory.iteration)
    with ctx.stopwatch.timeline.measure(Activity.START_LEARNER):
        seed = derive_seed(phase.seed_key("adapters"))
        learner = Learner(models.policy, ctx.layout, ctx.config.learner, loss, optimizer, longest, adapter_seed=seed)
    order = derive_seed(phase.seed_key("order"))
    steps = SftSteps(ctx, learner, examples, loss.sequences_per_update, order)
    run_steps(ctx, phase, learner, training, steps, models, facts)


class SftSteps(Steps):
    """An update on the next examples a step. Nothing but the learner has to be saved."""

    shown: ClassVar = {"loss": "loss", "norm": "grad_norm", "epoch": "epoch"}

    def __init__(
        self, ctx: RunContext, learner: Learner, examples: Sequence[EncodedExample], per_step: int, order: int
    ) -> None:
        """`order` names the stream of the epochs' orders."""
        self._ctx, self._learner, self._examples = ctx, learner, examples
        self._per_step, self._order = per_step, order

    def take(self, step: int, on_failure: OnFailure) -> Row:
        """The step's row."""
        batch = [self._examples[i] for i in solver_batch(len(self._examples), step, self._per_step, self._order)]
        sequences = [TrainingSequence.written(example.prompt, example.target) for example in batch]
        found, used = train_step(self._ctx, self._learner, sequences, on_failure)
        return {
            "loss": found.loss,
            "grad_norm": found.grad_norm,
            "entropy": found.entropy,
            "epoch": step * self._per_step / len(self._examples),
            "response_length": found.tokens / max(1, len(batch)),
            "updates": float(found.updates),
            "skipped_updates": found.skipped_updates,
            "tokens": found.tokens,
            **used,
        }
