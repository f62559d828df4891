"""The frozen models that KL terms compare the policy with: in host memory, swapped into the model for a pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from rzero_mega.config.schema import LossConfig
from rzero_mega.learner.batch import MicroBatch
from rzero_mega.learner.forward_backward import score
from rzero_mega.learner.losses.objective import has_base_reference, has_reference
from rzero_mega.learner.megatron.lora import switched_off
from rzero_mega.learner.megatron.model import Model, read_shards

Scores = list[Tensor] | None


class References:
    """The model at the start of the phase and the base model, as far as the loss compares with them.

    Each is this rank's shards in host memory: a second model would double the memory of the weights on the device.
    Where the two are one model there is one copy of it, and one pass serves both. Where adapters train the model at the
    start is the one without them, and there is no copy of it.
    """

    def __init__(self, model: Model, loss: LossConfig, base: Path | None) -> None:
        """`model` has the weights of the start. `base` is the base model's folder; None: the start is the base."""
        self._model = model
        self._start: dict[str, Tensor] | None = None
        self._base: dict[str, Tensor] | None = None
        if has_reference(loss) or (has_base_reference(loss) and base is None):
            held = {} if model.adapters else model.held_weights()
            start = {name: weight.to("cpu", copy=True) for name, weight in held.items()}
            self._start = start if has_reference(loss) else None
            self._base = start if has_base_reference(loss) and base is None else None
        if has_base_reference(loss) and base is not None:
            self._base = read_shards(model, base)

    @property
    def host_nbytes(self) -> int:
        """Host memory that this rank's copies take."""
        copies = {id(shards): shards for shards in (self._start, self._base) if shards is not None}
        return sum(weight.nbytes for shards in copies.values() for weight in shards.values())

    @property
    def passes(self) -> int:
        """Forward passes that `score` takes."""
        return len({id(shards) for shards in (self._start, self._base) if shards is not None})

    def score(self, micro_batches: Sequence[MicroBatch], temperature: float) -> tuple[Scores, Scores]:
        """What `forward_backward.score` gives under the start and under the base; None for one that is not needed."""
        start = self._score(self._start, micro_batches, temperature)
        base = start if self._base is self._start else self._score(self._base, micro_batches, temperature)
        return start, base

    def _score(self, shards: Mapping[str, Tensor] | None, batches: Sequence[MicroBatch], temperature: float) -> Scores:
        if shards is None:
            return None
        with self._holding(shards) as model:
            return score(model, batches, temperature)

    @contextmanager
    def _holding(self, shards: Mapping[str, Tensor]) -> Iterator[Model]:
        """A model with these weights; that of the policy, whose own are put aside."""
        held = self._model.held_weights()
        present = {name: held[name].clone() for name in shards}
        self._model.copy_in(shards)
        try:
            with switched_off(self._model.adapters):
                yield self._model
        finally:
            self._model.copy_in(present)
