"""Sequences on their way to the ranks, as micro-batches, and numbers of their tokens on the way back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from megatron.core import parallel_state
from torch import Tensor

from rzero_mega import spmd
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.batch import MicroBatch, TrainingSequence, build_micro_batch
from rzero_mega.learner.megatron.context_parallel import TokenSplit
from rzero_mega.learner.megatron.fp8 import token_multiple
from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.learner.packing import plan_micro_batches
from rzero_mega.planning.flops import SequenceCost
from rzero_mega.weights.shape import ModelShape


def local_micro_batches(
    sequences: Sequence[TrainingSequence],
    weights: Sequence[float],
    shape: ModelShape,
    layout: ParallelLayout,
    learner: LearnerConfig,
    together: int = 1,
) -> list[MicroBatch]:
    """This data-parallel rank's micro-batches; `weights[i]` is the loss weight of sequence i's response tokens.

    Sequences that follow each other, so many `together`, are in one micro-batch, in their order.
    """
    split = TokenSplit(
        cp=layout.cp,
        cp_rank=parallel_state.get_context_parallel_rank(),
        sequence_parallel_ranks=layout.sequence_parallel_ranks,
        token_multiple=token_multiple(learner.fp8),
    )
    lengths = [s.length + -s.length % split.sequence_multiple for s in sequences]
    plan = plan_micro_batches(
        [sum(lengths[i : i + together]) for i in range(0, len(lengths), together)],
        learner.tokens_per_micro_batch,
        layout.dp,
        SequenceCost.of(shape),
        layout.micro_batch_multiple,
    )
    mine = [
        [together * i + number for i in units for number in range(together)]
        for units in plan[parallel_state.get_data_parallel_rank()]
    ]
    return [build_micro_batch(sequences, weights, indices, split, device()) for indices in mine]


def by_sequence(micro_batches: Sequence[MicroBatch], scores: Sequence[Tensor] | None, count: int) -> list[list[float]]:
    """Scores of every response token by sequence, on every rank; `scores` is None but on the last stage."""
    mine: list[tuple[int, int, float]] = []
    for micro_batch, logprobs in zip(micro_batches, scores or [], strict=False):
        mask, indices = micro_batch.response_mask, micro_batch.indices
        columns = (x[mask].tolist() for x in (micro_batch.segment_ids, micro_batch.position_ids[0], logprobs))
        mine += [(indices[segment], position, value) for segment, position, value in zip(*columns, strict=True)]
    merged: list[dict[int, float]] = [{} for _ in range(count)]
    for index, position, value in chain.from_iterable(spmd.all_gather(mine)):
        merged[index][position] = value
    return [[values[position] for position in sorted(values)] for values in merged]
