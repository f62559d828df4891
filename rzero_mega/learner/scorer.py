"""A trained Critic that scores: its forward pass on the ranks of the learner, and neither gradients nor a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.forward_backward import score_answers
from rzero_mega.learner.megatron.model import build_model, load_weights
from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.learner.to_ranks import by_sequence, local_micro_batches
from rzero_mega.weights.shape import read_shape


def scored_sequence(tokens: Sequence[int]) -> TrainingSequence:
    """What is scored at its last token: a score stands where the next token would be predicted, whatever that is."""
    return TrainingSequence.written(tokens, tokens[-1:])


class SequenceScorer:
    """A Critic that does not learn. Every rank of the layout makes the same calls with the same arguments.

    Its weights are in host memory, and on the device while it scores.
    """

    def __init__(self, folder: Path, layout: ParallelLayout, learner: LearnerConfig) -> None:
        """Load the Critic of the folder. The layout's process groups are running."""
        self._layout, self._config = layout, learner
        self._model = build_model(replace(read_shape(folder), scores=1), layout, learner, frozen=True)
        load_weights(self._model, folder)
        self._move("cpu")

    def score(self, answers: Sequence[Sequence[int]]) -> list[float]:
        """The score of each, of the tokens of a question and its answer; any number. On every rank."""
        if not answers:
            return []
        sequences = [scored_sequence(tokens) for tokens in answers]
        packed = local_micro_batches(sequences, [0.0] * len(sequences), self._model.shape, self._layout, self._config)
        self._move(device().type)
        found = by_sequence(packed, score_answers(self._model, packed), len(sequences))
        self._move("cpu")
        return [value for (value,) in found]

    def _move(self, where: str) -> None:
        for chunk in self._model.chunks:
            chunk.to(where)
