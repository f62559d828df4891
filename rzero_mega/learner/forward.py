"""Micro-batches through Megatron's pipeline schedules: scoring without gradients, and one update's gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from rzero_mega.config.schema import GrpoConfig
from rzero_mega.learner.batch import Pack
from rzero_mega.learner.logprobs import hidden_logprobs
from rzero_mega.learner.losses.grpo import STATISTICS, SUMS, TokenInputs, grpo_loss
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.model import Model
from rzero_mega.learner.megatron.policy_model import bare


@calls_megatron
@torch.no_grad()
def score(model: Model, packs: Sequence[Pack]) -> list[Tensor] | None:
    """Log-probability of every target [t] of every pack under the present weights; None but on the last stage."""

    def collect(pack: Pack, hidden: Tensor, non_loss_data: bool = False) -> Tensor:
        logprobs, _ = _logprobs(model, pack, hidden)
        return logprobs

    for chunk in model.chunks:
        chunk.eval()
    scores = _schedule(model, packs, collect, forward_only=True, collect_non_loss_data=True)
    for chunk in model.chunks:
        chunk.train()
    return scores if parallel_state.is_pipeline_last_stage() else None


@calls_megatron
def accumulate_gradients(
    model: Model,
    packs: Sequence[Pack],
    old: Sequence[Tensor] | None,
    reference: Sequence[Tensor] | None,
    config: GrpoConfig,
) -> Tensor:
    """Gradients of one update's loss into the model's buffers; returns its [STATISTICS] over all ranks.

    `old` and `reference` hold a tensor per pack, or are None (see TokenInputs); only the last stage reads them.
    """

    def loss(item: tuple[Pack, Tensor | None, Tensor | None], hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pack, old_logprobs, reference_logprobs = item
        logprobs, entropy = _logprobs(model, pack, hidden)
        inputs = TokenInputs(
            pack.response, pack.weight, pack.advantage, pack.rollout_logprobs, old_logprobs, reference_logprobs
        )
        value, statistics = grpo_loss(logprobs, entropy, inputs, config)
        return value, torch.zeros([], dtype=torch.int, device=value.device), statistics

    model.config.finalize_model_grads_func = _finalize_summed_gradients
    for chunk in model.chunks:
        chunk.zero_grad_buffer()
    nothing: list[None] = [None] * len(packs)
    items = list(zip(packs, old or nothing, reference or nothing, strict=True))
    return _reduce(_schedule(model, items, loss, forward_only=False), packs[0].weight.device)


def _logprobs(model: Model, pack: Pack, hidden: Tensor) -> tuple[Tensor, Tensor]:
    group = parallel_state.get_tensor_model_parallel_group()
    return hidden_logprobs(hidden, bare(model.chunks[-1]).output_weight, pack.targets, model.shape.vocab, group)


def _schedule(model: Model, items: Sequence[Any], loss: Any, **settings: Any) -> list[Tensor]:
    packs = [item if isinstance(item, Pack) else item[0] for item in items]

    def forward_step(iterator: Iterator[Any], module: torch.nn.Module, *_unused: Any) -> tuple[Tensor, Any]:
        item = next(iterator)
        pack = item if isinstance(item, Pack) else item[0]
        out = module(pack.tokens, pack.position_ids, None, packed_seq_params=pack.sequence_parameters)
        return out, partial(loss, item)

    # Every chunk of an interleaved pipeline goes over all items at its own pace.
    iterators = [iter(items) for _ in model.chunks]
    outputs: list[Tensor] = get_forward_backward_func()(
        forward_step_func=forward_step,
        data_iterator=iterators if len(iterators) > 1 else iterators[0],
        model=model.chunks,
        num_microbatches=len(items),
        seq_length=max(pack.tokens.size(1) for pack in packs),
        micro_batch_size=1,
        **settings,
    )
    return outputs


def _finalize_summed_gradients(model: list[Any], num_tokens: Tensor | None = None, **settings: Any) -> None:
    # The weights of the tokens hold the normalisation; a division by a token count would apply it twice.
    finalize_model_grads(model, None, **settings)


def _reduce(outputs: list[Tensor], device: torch.device) -> Tensor:
    """Sums and maxima over micro-batches and over data- and context-parallel ranks, then from the last stage to all."""
    rows = torch.stack(outputs) if outputs else torch.zeros(1, len(STATISTICS), device=device)
    sums, maxima = rows[:, : len(SUMS)].sum(0), rows[:, len(SUMS) :].amax(0)
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    dist.all_reduce(sums, group=group)
    dist.all_reduce(maxima, op=dist.ReduceOp.MAX, group=group)
    statistics = torch.cat([sums, maxima])
    if parallel_state.get_pipeline_model_parallel_world_size() > 1:
        group = parallel_state.get_pipeline_model_parallel_group()
        dist.broadcast(statistics, src=parallel_state.get_pipeline_model_parallel_last_rank(), group=group)
    return statistics
