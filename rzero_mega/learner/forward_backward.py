"""Micro-batches through Megatron's pipeline schedules: scoring without gradients, and one update's gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from rzero_mega.config.schema import LossConfig
from rzero_mega.learner.batch import LocalUpdate, MicroBatch
from rzero_mega.learner.losses.grpo import MAXIMA, STATISTICS, SUMS, TokenInputs, merged
from rzero_mega.learner.losses.gspo import SequenceMap
from rzero_mega.learner.losses.objective import has_sequence_ratio, is_pairwise, token_loss
from rzero_mega.learner.losses.pairwise import pairs_loss
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.model import Model
from rzero_mega.learner.megatron.policy_model import bare
from rzero_mega.learner.output_layer import OutputLayer, output_loss, response_logprobs


@calls_megatron
@torch.no_grad()
def score(model: Model, micro_batches: Sequence[MicroBatch], temperature: float = 1.0) -> list[Tensor] | None:
    """Log-probability of every response token at the temperature under the present weights, [t] fp32 per micro-batch.

    It stands where the token is predicted; elsewhere there are zeros. None on every pipeline stage but the last.
    """

    def logprobs_of(micro_batch: MicroBatch, hidden: Tensor, non_loss_data: bool = False) -> Tensor:
        layer, rows = _output_layer(model, temperature), micro_batch.rows
        found = torch.zeros(len(micro_batch.targets), device=hidden.device)
        found[rows] = response_logprobs(layer, hidden, rows, micro_batch.targets[rows])
        return found

    return _scored(model, micro_batches, [partial(logprobs_of, micro_batch) for micro_batch in micro_batches])


def _scored(
    model: Model, micro_batches: Sequence[MicroBatch], outputs: Sequence[Callable[..., Tensor]]
) -> list[Tensor] | None:
    for chunk in model.chunks:
        chunk.eval()
    scores = _schedule(model, micro_batches, outputs, forward_only=True, collect_non_loss_data=True)
    for chunk in model.chunks:
        chunk.train()
    return scores if parallel_state.is_pipeline_last_stage() else None


@calls_megatron
@torch.no_grad()
def score_answers(model: Model, micro_batches: Sequence[MicroBatch]) -> list[Tensor] | None:
    """A Critic's score where a response token would be predicted, else as `score`: a sequence has one such place."""

    def scores_of(micro_batch: MicroBatch, hidden: Tensor, non_loss_data: bool = False) -> Tensor:
        found = torch.zeros(len(micro_batch.targets), device=hidden.device)
        found[micro_batch.rows] = _answer_scores(model, micro_batch, hidden)
        return found

    return _scored(model, micro_batches, [partial(scores_of, micro_batch) for micro_batch in micro_batches])


def _answer_scores(model: Model, micro_batch: MicroBatch, hidden: Tensor) -> Tensor:
    """Of every sequence of the micro-batch, in their order there, [n] in fp32."""
    weight = bare(model.chunks[-1]).output_weight
    found: Tensor = hidden[micro_batch.rows].float() @ weight[0].float()
    return found


@calls_megatron
def accumulate_gradients(model: Model, update: LocalUpdate, config: LossConfig) -> Tensor:
    """Put the gradients of one update's loss into the model's buffers.

    Returns the update's statistics over all ranks, [len(STATISTICS)] in fp32 (see `losses.grpo`).
    """

    def loss_of(
        micro_batch: MicroBatch, old: Tensor | None, reference: Tensor | None, base: Tensor | None, hidden: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        if is_pairwise(config):
            scores, weights = _answer_scores(model, micro_batch, hidden), micro_batch.loss_weight[micro_batch.rows]
            loss, statistics = pairs_loss(scores, weights)
            loss = loss + bare(model.chunks[-1]).nothing_of_output_layer()
            return loss, torch.zeros([], dtype=torch.int, device=loss.device), statistics
        layer, rows = _output_layer(model, update.temperature), micro_batch.rows
        inputs = TokenInputs(
            loss_weight=micro_batch.loss_weight,
            advantages=micro_batch.advantages,
            rollout_logprobs=micro_batch.rollout_logprobs,
            old_logprobs=old,
            reference_logprobs=reference,
            base_logprobs=base,
        ).part(rows)
        if has_sequence_ratio(config) and inputs.old_logprobs is not None:
            inputs = _with_sequence_ratios(layer, micro_batch, hidden, inputs, inputs.old_logprobs)

        def loss_of_tokens(tokens: slice, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, Tensor]:
            return token_loss(logprobs, entropy, inputs.part(tokens), config)

        loss, statistics = output_loss(layer, hidden, rows, micro_batch.targets[rows], loss_of_tokens)
        return loss, torch.zeros([], dtype=torch.int, device=loss.device), statistics

    model.config.finalize_model_grads_func = _finalize_summed_gradients
    for chunk in model.chunks:
        chunk.zero_grad_buffer()
    micro_batches = update.micro_batches
    nothing: list[None] = [None] * len(micro_batches)
    compared = (update.old_logprobs, update.reference_logprobs, update.base_logprobs)
    columns = zip(micro_batches, *(logprobs or nothing for logprobs in compared), strict=True)
    outputs = [partial(loss_of, *inputs) for inputs in columns]
    statistics = _schedule(model, micro_batches, outputs, forward_only=False)
    return _reduce(statistics, micro_batches[0].loss_weight.device)


def _output_layer(model: Model, temperature: float) -> OutputLayer:
    group = parallel_state.get_tensor_model_parallel_group()
    weight = bare(model.chunks[-1]).output_weight
    return OutputLayer(weight, model.shape.vocab, group, temperature, model.fused_kernels)


def _with_sequence_ratios(
    layer: OutputLayer, micro_batch: MicroBatch, hidden: Tensor, inputs: TokenInputs, old: Tensor
) -> TokenInputs:
    """The inputs with the sequences' log-ratios, which take a pass over all of a sequence before any token's loss."""
    rows = micro_batch.rows
    logprobs = response_logprobs(layer, hidden, rows, micro_batch.targets[rows])
    # Sequences, and that of padding, which has no response token.
    count, group = len(micro_batch.indices) + 1, parallel_state.get_context_parallel_group()
    sequences = SequenceMap(micro_batch.segment_ids[rows], count, group)
    return replace(inputs, sequence_log_ratios=sequences.means(logprobs - old))


def _schedule(
    model: Model, micro_batches: Sequence[MicroBatch], outputs: Sequence[Callable[..., Any]], **settings: Any
) -> list[Tensor]:
    """Run Megatron's schedule; on the last stage `outputs[i]` gets the hidden states [t, h] of micro-batch i."""

    def forward_step(iterator: Iterator[Any], module: torch.nn.Module, *_unused: Any) -> tuple[Tensor, Any]:
        micro_batch, output = next(iterator)
        hidden = module(
            micro_batch.tokens, micro_batch.position_ids, None, packed_seq_params=micro_batch.packed_seq_params
        )
        return hidden, output

    # Every chunk of an interleaved pipeline goes over all micro-batches at its own pace.
    iterators = [iter(list(zip(micro_batches, outputs, strict=True))) for _ in model.chunks]
    found: list[Tensor] = get_forward_backward_func()(
        forward_step_func=forward_step,
        data_iterator=iterators if len(iterators) > 1 else iterators[0],
        model=model.chunks,
        num_microbatches=len(micro_batches),
        seq_length=max(micro_batch.tokens.size(1) for micro_batch in micro_batches),
        micro_batch_size=1,
        **settings,
    )
    return found


def _finalize_summed_gradients(model: list[Any], num_tokens: Tensor | None = None, **settings: Any) -> None:
    # The loss weights hold the normalisation; dividing by a number of tokens would apply it twice.
    finalize_model_grads(model, None, **settings)


def _reduce(outputs: list[Tensor], device: torch.device) -> Tensor:
    """Sums and maxima over micro-batches and over data- and context-parallel ranks, then from the last stage to all."""
    statistics = merged(outputs or [torch.zeros(len(STATISTICS), device=device)])
    sums, maxima = statistics.split([len(SUMS), len(MAXIMA)])
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    dist.all_reduce(sums, group=group)
    dist.all_reduce(maxima, op=dist.ReduceOp.MAX, group=group)
    statistics = torch.cat([sums, maxima])
    if parallel_state.get_pipeline_model_parallel_world_size() > 1:
        group = parallel_state.get_pipeline_model_parallel_group()
        dist.broadcast(statistics, src=parallel_state.get_pipeline_model_parallel_last_rank(), group=group)
    return statistics
