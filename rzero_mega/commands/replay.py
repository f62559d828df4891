"""The command `replay`: a failed update done again, from its folder alone, in any layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rzero_mega import spmd
from rzero_mega.commands.start import spread
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.load import load_config
from rzero_mega.config.schema import Config, LossConfig, TrainingConfig
from rzero_mega.config.schema.labelled import SFT
from rzero_mega.errors import UserError
from rzero_mega.learner.guard import GradientCheck
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.learner.update_batch import read_batch
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.failures import CONFIG, MODEL, FailureRecord, read_failure
from rzero_mega.planning.layout_rules import check_learner
from rzero_mega.run.stop import StopRequest
from rzero_mega.terminal import say
from rzero_mega.weights.shape import read_shape


@dataclass(frozen=True)
class Replay:
    """A failed update, checked as far as that goes without starting anything."""

    folder: Path
    model: Path
    config: Config
    failure: FailureRecord

    @property
    def training(self) -> TrainingConfig:
        """The configuration of the phase that it happened in."""
        match self.failure.phase:
            case PhaseName.CHALLENGER:
                return self.config.challenger.training
            case PhaseName.VERIFIER:
                return self.config.verifier.training
            case PhaseName.CRITIC:
                critic = self.config.critic
                return critic.comparing.training if critic.generative else TrainingConfig(optimizer=critic.optimizer)
            case _:
                return self.config.solver.training

    @property
    def fine_tunes(self) -> bool:
        """Whether the phase was one of supervised fine-tuning."""
        return self.config.labelled.method == SFT

    @property
    def loss(self) -> LossConfig:
        """The loss of the phase that it happened in."""
        if self.failure.phase is PhaseName.CRITIC and self.config.critic.scalar:
            return self.config.critic.loss
        return self.config.labelled.sft if self.fine_tunes else self.training.grpo


def replay_and_show(folder: Path, model: Path | None, overrides: Sequence[str]) -> None:
    """Do the failed update of the folder again, in as many processes as the layout wants, and print how it went."""
    opened = open_replay(folder, model, overrides)

    def work(_: StopRequest) -> None:
        for line in run_replay(opened):
            say(line)

    spread(opened.config, work)


def open_replay(folder: Path, model: Path | None, overrides: Sequence[str]) -> Replay:
    """Check the folder of a failed update; UserError names what is missing or does not fit.

    `model` stands in for the weights that the folder lacks (`learner.guard.save_weights: false`).
    """
    failure = read_failure(folder)
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder / CONFIG}: missing; {folder} is not the folder of a failed update")
    config = load_config([str(folder / CONFIG)], overrides)
    weights = model or folder / MODEL
    if not weights.is_dir():
        hint = "give the weights with --model" if model is None else "give a folder in Hugging Face format"
        raise UserError(f"{weights}: no such folder; {hint}")
    shape = read_shape(weights)
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    check_learner(shape, layout, config.learner.lora)
    read_batch(folder, shape.vocab)
    return Replay(folder, weights, config, failure)


def run_replay(replay: Replay) -> list[str]:
    """Do the update again; nothing is written. On rank 0 the lines say what every micro-batch brings."""
    torch.set_num_threads(1)
    config, training, failure = replay.config, replay.training, replay.failure
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    start_process_groups(layout, config.seed, deterministic=config.learner.deterministic)
    sampling = training.sampling
    learner = Learner(
        replay.model,
        layout,
        config.learner,
        replay.loss,
        training.optimizer,
        sampling.max_new_tokens,
        1.0 if replay.fine_tunes else sampling.temperature,
    )
    batch = read_batch(replay.folder, learner.shape.vocab)
    found = learner.replay(batch)
    if spmd.rank() != 0:
        return []
    lines = [
        f"iteration {failure.iteration}, {failure.phase.value}, step {failure.step}, update {failure.update}: "
        f"{len(batch.sequences)} sequences, {sum(s.length for s in batch.sequences)} tokens; "
        f"tp {layout.tp}, pp {layout.pp}, dp {layout.dp}"
    ]
    for number, check in enumerate(found.parts):
        first, last = number * found.size, (number + 1) * found.size - 1
        lines.append(f"micro-batch {first if first == last else f'{first} to {last}'}: {_numbers(check)}")
    return [
        *lines,
        f"update: {_numbers(found.whole)}",
        f"the run had: loss {failure.loss:.9g}, gradient norm {failure.gradient_norm:.9g}: {failure.fault}",
        f"the run found: {failure.origin}",
        f"replay found: {found.origin}",
        "reproduced" if found.whole.fault is not None else "not reproduced: here the update passes the guard",
    ]


def _numbers(check: GradientCheck) -> str:
    fault = f": {check.fault}" if check.fault else ""
    return f"loss {check.loss:.9g}, gradient norm {check.gradient_norm:.9g}{fault}"
