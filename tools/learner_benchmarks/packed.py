"""Tokens per second of packed micro-batches against padded ones: the same learner, sequences and losses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.learner.batch import MicroBatch, TrainingSequence, build_micro_batch
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.losses.aggregation import token_mean
from rzero_mega.learner.megatron.context_parallel import TokenSplit
from rzero_mega.learner.megatron.process_groups import device, start_process_groups
from tools.learner_benchmarks.rollouts import (
    LONGEST_RESPONSE,
    MICRO_BATCH,
    ROLES,
    SCALE,
    SEQUENCES,
    TOKEN_BUDGET,
    rollouts,
    write_model,
)
from tools.measurement import alternate


@dataclass
class Packed:
    """One role's update, packed and padded. Tokens per second count prompts and responses, never padding.

    `padding` is the share of padding in what a padded trainer computes.
    """

    role: str
    lengths: str
    sequences: int
    tokens: int
    packed_tokens_per_s: float
    padded_to: str
    padding: float
    padded_tokens_per_s: float


@dataclass(frozen=True)
class _FillTo(TokenSplit):
    """Every sequence is padded to one length."""

    length: int = 1

    @property
    def sequence_multiple(self) -> int:
        return self.length


class PaddedLearner(Learner):
    """A trainer that doesn't pack: MICRO_BATCH sequences in order, padded to the longest of them or of the update.

    Padding is computed and has no weight.
    """

    to_update = False

    def _micro_batches(self, sequences: Sequence[TrainingSequence]) -> list[MicroBatch]:
        weights = token_mean([len(s.response) for s in sequences])
        groups = [range(i, min(i + MICRO_BATCH, len(sequences))) for i in range(0, len(sequences), MICRO_BATCH)]
        everyone = range(len(sequences))
        longest = [max(sequences[i].length for i in (everyone if self.to_update else group)) for group in groups]
        return [
            build_micro_batch(sequences, weights, group, _FillTo(length=length), device())
            for group, length in zip(groups, longest, strict=True)
        ]


class PaddedToUpdateLearner(PaddedLearner):
    """Filled up to the longest sequence of the whole update, as trainers do that pad once for a batch."""

    to_update = True


def new_learner(kind: type[Learner], folder: Path) -> Learner:
    """A learner of `kind` on the model in `folder`, fp32, one update for all SEQUENCES, alone in its process."""
    layout = ParallelLayout()
    start_process_groups(layout, 0)
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=TOKEN_BUDGET)
    grpo = GrpoConfig(sequences_per_update=SEQUENCES, importance_cap=None)
    return kind(folder, layout, settings, grpo, OptimizerConfig(), LONGEST_RESPONSE // SCALE)


def run(repeats: int, folder: Path) -> list[Packed]:
    """Measure both roles."""
    model = write_model(folder / "model")
    return [row for role in ROLES for row in _role(role, repeats, model)]


def _role(role: str, repeats: int, model: Path) -> list[Packed]:
    batch = rollouts(role)
    kinds = {"packed": Learner, "micro-batch": PaddedLearner, "update": PaddedToUpdateLearner}
    learners = {name: new_learner(kind, model) for name, kind in kinds.items()}
    losses: dict[str, list[float]] = {name: [] for name in kinds}

    def step(name: str) -> None:
        losses[name].append(learners[name].train_step(batch.sequences).loss)

    seconds = alternate(repeats, {name: partial(step, name) for name in kinds})
    for name, values in losses.items():
        pairs = zip(values, losses["packed"], strict=True)
        if not all(math.isclose(loss, expected, rel_tol=1e-3, abs_tol=1e-6) for loss, expected in pairs):
            raise SystemExit(f"bench_learner: {name} trains something else: losses {values} and {losses['packed']}")
    speed = {name: batch.tokens / value for name, value in seconds.items()}
    rows = []
    for name in ("micro-batch", "update"):
        computed = sum(micro_batch.tokens.numel() for micro_batch in learners[name]._micro_batches(batch.sequences))
        shares = (speed["packed"], name, 1 - batch.tokens / computed, speed[name])
        rows.append(Packed(role, str(ROLES[role]), len(batch.sequences), batch.tokens, *shares))
    return rows
