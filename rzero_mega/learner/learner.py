"""One policy that learns: GRPO steps on Megatron-core, its weights under Hugging Face names, its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig, WeightsConfig
from rzero_mega.learner.batch import Pack, TrainingSequence, build_pack
from rzero_mega.learner.checkpoints import checkpoint
from rzero_mega.learner.checkpoints.write import PendingSave
from rzero_mega.learner.diagnosis import diagnose
from rzero_mega.learner.forward import accumulate_gradients, score
from rzero_mega.learner.guard import Attempt, FailedUpdate, Replayed, attempt, origin_of, refuse
from rzero_mega.learner.losses.aggregation import token_weights
from rzero_mega.learner.losses.grpo import MAXIMA, STATISTICS, SUMS
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.context_parallel import TokenSplit
from rzero_mega.learner.megatron.fp8 import token_multiple
from rzero_mega.learner.megatron.model import build_model, load_weights
from rzero_mega.learner.megatron.offload import Offloader
from rzero_mega.learner.megatron.optimizer import build_optimizer
from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.learner.packing import SequenceCost, plan_packs
from rzero_mega.learner.sharing import export_tensors, share_weights
from rzero_mega.learner.update_batch import UpdateBatch
from rzero_mega.weights.reshard.export import WeightSource
from rzero_mega.weights.shape import ModelShape, read_shape


@dataclass(frozen=True)
class StepMetrics:
    """Means over the response tokens of a step; `loss` and `grad_norm` are means over its optimizer updates.

    Skipped updates are left out of everything but their own count; where all were skipped, the rest is 0.
    """

    loss: float
    grad_norm: float
    kl: float
    entropy: float
    clip_fraction: float
    logprob_difference: float
    importance: float
    logprob_difference_max: float
    ratio: float
    ratio_max: float
    tokens: int
    updates: int
    skipped_updates: int


@dataclass(frozen=True)
class _Update:
    """This rank's micro-batches of one update. Log-probabilities per pack are None as in `accumulate_gradients`."""

    packs: list[Pack]
    old: list[Tensor] | None
    reference: list[Tensor] | None

    def parts(self, size: int) -> Iterator[_Update]:
        """So many micro-batches at a time, as updates of their own."""
        for start in range(0, len(self.packs), size):
            here = slice(start, start + size)
            yield _Update(self.packs[here], self.old and self.old[here], self.reference and self.reference[here])


class Learner:
    """A policy under training. Every rank of the layout makes the same calls with the same arguments."""

    def __init__(
        self,
        model_folder: Path,
        layout: ParallelLayout,
        learner: LearnerConfig,
        grpo: GrpoConfig,
        optimizer: OptimizerConfig,
        longest_response: int,
    ) -> None:
        """Load the model of `model_folder`; it is also the reference of the KL term. The optimizer is fresh."""
        self._layout, self._config, self._grpo = layout, learner, grpo
        self._longest_response = longest_response
        self._model = build_model(read_shape(model_folder), layout, learner)
        load_weights(self._model, model_folder)
        # The reference is this rank's shards in host memory, swapped in for scoring: a second model would double the
        # memory of the weights on the device.
        self._reference = {name: w.to("cpu", copy=True) for name, w in self._model.local_weights().items()}
        self._optimizer = build_optimizer(self._model, optimizer)
        offload = learner.offload
        self._offloader = None if offload == "none" else Offloader(self._model, self._optimizer, offload)

    def train_step(
        self, sequences: Sequence[TrainingSequence], on_failure: Callable[[FailedUpdate], None] = refuse
    ) -> StepMetrics:
        """One R-Zero step: the rollouts in `sequences_per_update` slices, one optimizer update each, in order.

        An update that `learner.guard` objects to is not applied. `on_failure` is told of it, on every rank with the
        weights as they were before it: what it raises ends the step, and if it returns the update is skipped.
        """
        size = self._grpo.sequences_per_update
        updates = [self._packs(sequences[i : i + size]) for i in range(0, len(sequences), size)]
        every_pack = [pack for packs in updates for pack in packs]
        old = score(self._model, every_pack) if len(updates) > 1 else None
        reference = None
        if self._grpo.kl_coefficient > 0:
            with self._reference_weights():
                reference = score(self._model, every_pack)
        rows, attempts, start = [], [], 0
        for number, packs in enumerate(updates, start=1):
            here = slice(start, start + len(packs))
            update = _Update(packs, old and old[here], reference and reference[here])
            statistics, found = self._attempt(update)
            if found.fault is None:
                self._apply()
                rows.append(statistics)
                attempts.append(found)
            else:
                failed = sequences[size * (number - 1) : size * number]
                batch = self._batch(failed, update, with_old=len(updates) > 1)
                on_failure(FailedUpdate(number, batch, found, self._origin(batch, update, found.loss)))
            start = here.stop
        return _metrics(rows, attempts, len(updates) - len(attempts))

    def replay(self, batch: UpdateBatch) -> Replayed:
        """Forward and backward passes of a saved update under the present weights, which stay as they are."""
        old, reference = self._per_pack(batch, batch.old), self._per_pack(batch, batch.reference)
        update = _Update(self._packs(batch.sequences), old, reference)
        size = self._layout.micro_batch_multiple
        parts = [self._attempt(part)[1] for part in update.parts(size)]
        whole = self._attempt(update)[1]
        return Replayed(size, parts, whole, self._origin(batch, update, whole.loss))

    @contextmanager
    def offloaded(self) -> Iterator[None]:
        """A context in which the learner's memory on the device is free for others, as far as `learner.offload` says.

        Inside, nothing of the learner may be used.
        """
        if self._offloader is None:
            yield
            return
        self._offloader.offload()
        try:
            yield
        finally:
            self._offloader.reload()

    def score(self, sequences: Sequence[TrainingSequence]) -> list[list[float]]:
        """Log-probability of every response token under the present weights, in order, on every rank."""
        packs = self._packs(sequences)
        return _by_sequence(packs, score(self._model, packs), len(sequences))

    @property
    def shape(self) -> ModelShape:
        """Shape of the model."""
        return self._model.shape

    def export(self) -> Iterator[tuple[str, Tensor]]:
        """The present weights under their Hugging Face names, full tensors on every rank."""
        return export_tensors(self._model)

    def weights(self, receivers: Sequence[int], config: WeightsConfig) -> WeightSource:
        """The weights as they are whenever a pass begins, in buckets that the `receivers` (ranks) get.

        Every rank calls this, and takes part in every pass.
        """
        return share_weights(self._model, receivers, config)

    def save(self, folder: Path, step: int) -> None:
        """Write weights, moments and the state of the random generators into an existing, empty folder."""
        checkpoint.save(folder, self._model, self._optimizer, step)

    def start_save(self, folder: Path, step: int) -> PendingSave:
        """`save` whose files are written while training goes on; it is complete after `finish` on every rank."""
        return checkpoint.start_save(folder, self._model, self._optimizer, step)

    def load(self, folder: Path) -> int:
        """Restore what `save` wrote, under this or another layout; returns the step."""
        return checkpoint.load(folder, self._model, self._optimizer)

    def _packs(self, sequences: Sequence[TrainingSequence]) -> list[Pack]:
        """This data-parallel rank's micro-batches of one update."""
        layout = self._layout
        split = TokenSplit(
            layout.cp,
            parallel_state.get_context_parallel_rank(),
            layout.sequence_parallel_ranks,
            token_multiple(self._config.fp8),
        )
        plan = plan_packs(
            [s.length + -s.length % split.sequence_multiple for s in sequences],
            self._config.tokens_per_micro_batch,
            layout.dp,
            SequenceCost.of(self._model.shape),
            layout.micro_batch_multiple,
        )
        weights = token_weights(
            self._grpo.loss_aggregation,
            [len(s.response) for s in sequences],
            self._grpo.sequences_per_micro_batch,
            self._longest_response,
        )
        mine = plan[parallel_state.get_data_parallel_rank()]
        return [build_pack(sequences, weights, indices, split, device()) for indices in mine]

    def _attempt(self, update: _Update) -> tuple[Tensor, Attempt]:
        """The update's gradients into the model's buffers; its statistics, and what the guard says of them."""
        statistics = accumulate_gradients(self._model, update.packs, update.old, update.reference, self._grpo).cpu()
        return statistics, attempt(statistics, self._model, self._optimizer, self._config.guard)

    @calls_megatron
    def _apply(self) -> None:
        done, _, _ = self._optimizer.step()
        if not done:
            raise RuntimeError("Megatron's optimizer did not take gradients that the guard had found finite")

    def _batch(self, sequences: Sequence[TrainingSequence], update: _Update, with_old: bool) -> UpdateBatch:
        def gather(scores: Sequence[Tensor] | None) -> tuple[tuple[float, ...], ...]:
            return tuple(tuple(row) for row in _by_sequence(update.packs, scores, len(sequences)))

        old = gather(update.old) if with_old else None
        reference = gather(update.reference) if self._grpo.kl_coefficient > 0 else None
        return UpdateBatch(tuple(sequences), old, reference)

    def _origin(self, batch: UpdateBatch, update: _Update, loss: float) -> str:
        """Where the update goes wrong, by running it once more; its gradients are dropped."""
        finding = diagnose(self._model, update.packs, update.old, update.reference, self._grpo)
        self._optimizer.zero_grad()
        return origin_of(finding, batch, loss)

    def _per_pack(self, batch: UpdateBatch, values: Sequence[tuple[float, ...]] | None) -> list[Tensor] | None:
        """Log-probabilities of the responses, laid out as the rollouts' are in the micro-batches."""
        if values is None:
            return None
        relabelled = [replace(s, rollout_logprobs=row) for s, row in zip(batch.sequences, values, strict=True)]
        return [pack.rollout_logprobs for pack in self._packs(relabelled)]

    @contextmanager
    def _reference_weights(self) -> Iterator[None]:
        present = {name: w.clone() for name, w in self._model.local_weights().items()}
        self._model.copy_in(self._reference)
        try:
            yield
        finally:
            self._model.copy_in(present)


def _by_sequence(packs: Sequence[Pack], scores: Sequence[Tensor] | None, count: int) -> list[list[float]]:
    """Scores of every response token by sequence, on every rank; `scores` is None but on the last stage."""
    mine: list[tuple[int, int, float]] = []
    for pack, logprobs in zip(packs, scores or [], strict=False):
        chosen = pack.response
        places = (x[chosen].tolist() for x in (pack.sequence, pack.position_ids[0], logprobs))
        mine += [(pack.indices[number], position, value) for number, position, value in zip(*places, strict=True)]
    everyone: list[list[tuple[int, int, float]]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, mine)
    merged: list[dict[int, float]] = [{} for _ in range(count)]
    for index, position, value in chain.from_iterable(everyone):
        merged[index][position] = value
    return [[values[position] for position in sorted(values)] for values in merged]


def _metrics(rows: list[Tensor], attempts: list[Attempt], skipped: int) -> StepMetrics:
    table = torch.stack(rows) if rows else torch.zeros(1, len(STATISTICS))
    named = dict(zip(SUMS, table[:, : len(SUMS)].sum(0).tolist(), strict=True))
    largest = dict(zip(MAXIMA, table[:, len(SUMS) :].amax(0).tolist(), strict=True))
    tokens, updates = max(1.0, named["tokens"]), len(attempts)
    return StepMetrics(
        loss=sum(found.loss for found in attempts) / max(1, updates),
        grad_norm=sum(found.gradient_norm for found in attempts) / max(1, updates),
        kl=named["kl"] / tokens,
        entropy=named["entropy"] / tokens,
        clip_fraction=named["clipped"] / tokens,
        logprob_difference=named["logprob_difference"] / tokens,
        importance=named["importance"] / tokens,
        ratio=named["ratio"] / tokens,
        **largest,
        tokens=int(named["tokens"]),
        updates=updates,
        skipped_updates=skipped,
    )
