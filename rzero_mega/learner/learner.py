"""One policy that learns: its steps on Megatron-core, its weights under Hugging Face names, its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from rzero_mega import spmd
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig, LossConfig, OptimizerConfig, WeightsConfig
from rzero_mega.learner.batch import LocalUpdate, MicroBatch, TrainingSequence
from rzero_mega.learner.checkpoints import checkpoint
from rzero_mega.learner.checkpoints.async_save import PendingSave
from rzero_mega.learner.diagnosis import diagnose
from rzero_mega.learner.export import export_tensors, parted_weights, weight_source
from rzero_mega.learner.forward_backward import accumulate_gradients, score
from rzero_mega.learner.guard import (
    FailedUpdate,
    GradientCheck,
    ReplayResult,
    check_gradients,
    describe_origin,
    stop_training,
)
from rzero_mega.learner.losses.grpo import MAXIMA, STATISTICS, SUMS
from rzero_mega.learner.losses.objective import (
    has_base_reference,
    has_old_policy,
    has_reference,
    is_pairwise,
    loss_weights,
)
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.model import build_model, load_weights
from rzero_mega.learner.megatron.offload import Offloader
from rzero_mega.learner.megatron.optimizer import build_optimizer
from rzero_mega.learner.references import References
from rzero_mega.learner.to_ranks import by_sequence, local_micro_batches
from rzero_mega.learner.update_batch import UpdateBatch
from rzero_mega.planning.flops import training_flops
from rzero_mega.planning.hardware import Gpu, gpu_of_device
from rzero_mega.weights.fingerprint import fingerprint
from rzero_mega.weights.model_parts import PartedWeights
from rzero_mega.weights.shape import ModelShape, read_shape
from rzero_mega.weights.sources import WeightSource


@dataclass(frozen=True)
class StepMetrics:
    """Means over the response tokens of a step; `loss` and `grad_norm` are means over its optimizer updates.

    `logprob_difference` is |learner - rollout engine| before the update, in nats, `rollout_kl` the KL divergence of the
    engine to the learner, `importance_outside` the share of tokens past `importance.FACTOR`; `ratio` is the policy over
    the old policy, `importance` the old policy over the rollout engine (both of probabilities). Skipped updates are
    left out of everything but their own count; where all were skipped, the rest is 0.
    """

    loss: float
    grad_norm: float
    kl: float
    kl_base: float
    entropy: float
    clip_fraction: float
    logprob_difference: float
    rollout_kl: float
    importance_outside: float
    importance: float
    logprob_difference_max: float
    ratio: float
    ratio_max: float
    tokens: int
    updates: int
    skipped_updates: int


class Learner:
    """A policy under training. Every rank of the layout makes the same calls with the same arguments."""

    def __init__(
        self,
        model_folder: Path,
        layout: ParallelLayout,
        learner: LearnerConfig,
        loss: LossConfig,
        optimizer: OptimizerConfig,
        longest_response: int,
        temperature: float = 1.0,
        base_folder: Path | None = None,
        adapter_seed: int = 0,
    ) -> None:
        """Load the model of `model_folder`; it is also the reference of a KL term. The optimizer is fresh.

        `base_folder` has the base model, the reference of the other KL term; None: that is `model_folder`'s, too.
        With a pairwise loss it is a Critic: a model that has a head, which is zero in one that comes without.
        `longest_response` is in tokens, for the loss aggregation `constant`. `temperature` is the one that rollouts are
        drawn at: policy, old policy and reference are all taken at it. With `learner.lora` adapters begin with numbers
        that `adapter_seed` names. The layout's process groups are running.
        """
        self._temperature = temperature
        self._layout, self._config, self._loss = layout, learner, loss
        self._longest_response = longest_response
        shape = read_shape(model_folder)
        self._model = build_model(replace(shape, scores=1) if is_pairwise(loss) else shape, layout, learner)
        load_weights(self._model, model_folder, adapter_seed)
        self._base = spmd.on_rank_0(fingerprint, model_folder) if self._model.adapters else ""
        self._references = References(self._model, loss, base_folder)
        self._optimizer = build_optimizer(self._model, optimizer)
        offload = learner.offload
        self._offloader = None if offload == "none" else Offloader(self._model, self._optimizer, offload)

    def train_step(
        self, sequences: Sequence[TrainingSequence], on_failure: Callable[[FailedUpdate], None] = stop_training
    ) -> StepMetrics:
        """One step: the sequences in slices of `sequences_per_update`, one optimizer update each, in order.

        An update that `learner.guard` objects to is not applied. `on_failure` is told of it, on every rank with the
        weights as they were before it: what it raises ends the step, and if it returns the update is skipped.
        """
        size = self._loss.sequences_per_update
        slices = [sequences[i : i + size] for i in range(0, len(sequences), size)]
        updates = self._local_updates(slices)
        rows, checks = [], []
        for number, (rollouts, update) in enumerate(zip(slices, updates, strict=True), start=1):
            statistics, check = self._compute_gradients(update)
            if check.fault is None:
                self._apply_gradients()
                rows.append(statistics)
                checks.append(check)
            else:
                batch = self._update_batch(rollouts, update, len(updates))
                on_failure(FailedUpdate(number, batch, check, self._origin(batch, update, check.loss)))
        return _metrics(rows, checks, skipped=len(updates) - len(checks))

    def utilisation(self, sequences: Sequence[TrainingSequence], seconds: float) -> float | None:
        """MFU of a `train_step` on these that took so long: the share of the GPUs' peak that its model FLOPs make.

        Scoring passes count, what is computed twice does not. The peak is the data sheet's for the format of the
        matrix products. None on CPUs, GPUs that are not in `planning.hardware`, and in fp32.
        """
        gpu = _gpu()
        if gpu is None or self._config.dtype == "float32":
            return None
        peak = gpu.bf16_flops if self._config.fp8.format == "none" else gpu.fp8_flops
        updates = -(-len(sequences) // self._loss.sequences_per_update)
        passes = has_old_policy(self._loss, updates) + self._references.passes
        lengths = [sequence.length for sequence in sequences]
        flops = training_flops(self.shape, lengths, passes, not self._model.adapters)
        return flops / (seconds * self._config.processes * peak) if peak else None

    def replay(self, batch: UpdateBatch) -> ReplayResult:
        """Forward and backward passes of a saved update under the present weights, which stay as they are."""
        update = LocalUpdate(
            self._micro_batches(batch.sequences),
            self._per_micro_batch(batch, batch.old_logprobs),
            self._per_micro_batch(batch, batch.reference_logprobs),
            self._temperature,
            self._per_micro_batch(batch, batch.base_logprobs),
        )
        size = self._layout.micro_batch_multiple
        parts = update.split([size] * (len(update.micro_batches) // size))
        checks = [self._compute_gradients(part)[1] for part in parts]
        whole = self._compute_gradients(update)[1]
        return ReplayResult(size, checks, whole, self._origin(batch, update, whole.loss))

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
        """Log-probability at temperature 1 of every response token under the present weights, in order, on every rank.

        At temperature 1, as rollout engines score, whatever the temperature of the updates is.
        """
        micro_batches = self._micro_batches(sequences)
        return by_sequence(micro_batches, score(self._model, micro_batches), len(sequences))

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
        return weight_source(self._model, receivers, config)

    def parted_weights(self, config: WeightsConfig) -> PartedWeights:
        """The present weights on their way into a folder that all ranks write. Every rank calls this."""
        return parted_weights(self._model, config)

    def save(self, folder: Path, step: int) -> None:
        """Write what trains, its moments and the random generators' state into an existing, empty folder."""
        self.start_save(folder, step).finish()

    def start_save(self, folder: Path, step: int) -> PendingSave:
        """`save` whose files are written while training goes on; it is complete after `finish` on every rank."""
        return checkpoint.start_save(folder, self._model, self._optimizer, step, self._base)

    def load(self, folder: Path) -> int:
        """Restore what `save` wrote, under this or another layout; returns the step."""
        return checkpoint.load(folder, self._model, self._optimizer, self._base)

    def close(self) -> None:
        """There will be no further step: its memory is free once nobody refers to it."""
        # The optimizer's shards keep the gradient accumulators, whose hooks keep the model, whose configuration keeps
        # the optimizer: a ring through autograd's graph, which Python's garbage collector doesn't see.
        self._model.config.grad_scale_func = None

    def _micro_batches(self, sequences: Sequence[TrainingSequence]) -> list[MicroBatch]:
        """This data-parallel rank's micro-batches of one update."""
        weights = loss_weights(self._loss, [len(s.response) for s in sequences], self._longest_response)
        return local_micro_batches(
            sequences, weights, self._model.shape, self._layout, self._config, 2 if is_pairwise(self._loss) else 1
        )

    def _local_updates(self, slices: Sequence[Sequence[TrainingSequence]]) -> list[LocalUpdate]:
        """This rank's part of a step's updates, with what their losses compare with, scored before the first update."""
        packed = [self._micro_batches(rollouts) for rollouts in slices]
        every = [micro_batch for micro_batches in packed for micro_batch in micro_batches]
        old = score(self._model, every, self._temperature) if has_old_policy(self._loss, len(packed)) else None
        reference, base = self._references.score(every, self._temperature)
        return LocalUpdate(every, old, reference, self._temperature, base).split([len(parts) for parts in packed])

    def _compute_gradients(self, update: LocalUpdate) -> tuple[Tensor, GradientCheck]:
        """The update's gradients into the model's buffers; its statistics, and what the guard says of them."""
        statistics = accumulate_gradients(self._model, update, self._loss).cpu()
        return statistics, check_gradients(statistics, self._model, self._optimizer, self._config.guard)

    @calls_megatron
    def _apply_gradients(self) -> None:
        done, _, _ = self._optimizer.step()
        if not done:
            raise RuntimeError("Megatron's optimizer did not take gradients that the guard had found finite")

    def _update_batch(self, rollouts: Sequence[TrainingSequence], update: LocalUpdate, updates: int) -> UpdateBatch:
        """The update, one of so many of its step, with its log-probabilities by sequence, gathered on every rank."""

        def gather(scores: Sequence[Tensor] | None) -> tuple[tuple[float, ...], ...]:
            return tuple(tuple(row) for row in by_sequence(update.micro_batches, scores, len(rollouts)))

        old = gather(update.old_logprobs) if has_old_policy(self._loss, updates) else None
        reference = gather(update.reference_logprobs) if has_reference(self._loss) else None
        base = gather(update.base_logprobs) if has_base_reference(self._loss) else None
        return UpdateBatch(tuple(rollouts), old, reference, base)

    def _origin(self, batch: UpdateBatch, update: LocalUpdate, loss: float) -> str:
        """Where the update goes wrong, by running it once more; its gradients are dropped."""
        origin = diagnose(self._model, update, self._loss)
        self._optimizer.zero_grad()
        return describe_origin(origin, batch, loss)

    def _per_micro_batch(self, batch: UpdateBatch, rows: Sequence[tuple[float, ...]] | None) -> list[Tensor] | None:
        """Log-probabilities of the responses, laid out as the rollouts' are in the micro-batches: [t] each."""
        if rows is None:
            return None
        relabelled = [replace(s, rollout_logprobs=row) for s, row in zip(batch.sequences, rows, strict=True)]
        return [micro_batch.rollout_logprobs for micro_batch in self._micro_batches(relabelled)]


def _gpu() -> Gpu | None:
    """The data sheet of the GPU that this process trains on."""
    return gpu_of_device(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def _metrics(rows: list[Tensor], checks: list[GradientCheck], skipped: int) -> StepMetrics:
    table = torch.stack(rows) if rows else torch.zeros(1, len(STATISTICS))
    sums = dict(zip(SUMS, table[:, : len(SUMS)].sum(0).tolist(), strict=True))
    maxima = dict(zip(MAXIMA, table[:, len(SUMS) :].amax(0).tolist(), strict=True))
    tokens, updates = max(1.0, sums["tokens"]), len(checks)
    return StepMetrics(
        loss=sum(check.loss for check in checks) / max(1, updates),
        grad_norm=sum(check.gradient_norm for check in checks) / max(1, updates),
        kl=sums["kl"] / tokens,
        kl_base=sums["kl_base"] / tokens,
        entropy=sums["entropy"] / tokens,
        clip_fraction=sums["clipped"] / tokens,
        logprob_difference=sums["logprob_difference"] / tokens,
        rollout_kl=sums["rollout_kl"] / tokens,
        importance_outside=sums["importance_outside"] / tokens,
        importance=sums["importance"] / tokens,
        ratio=sums["ratio"] / tokens,
        **maxima,
        tokens=int(sums["tokens"]),
        updates=updates,
        skipped_updates=skipped,
    )
