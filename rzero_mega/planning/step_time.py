"""How long the learner's part of a training step takes: an estimate; one H100 took 1.3 (bf16) and 2.1 (FP8) times it.

A roofline: arithmetic at a share of the data sheet's peak, communication at a share of the links' bandwidth, nothing
overlapped, every sequence at its full length. It is for ranking layouts, not for promising tokens per second.
"""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.activations import FP32
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.hardware import COMPUTE_SHARE, LINK_SHARE, MEMORY_SHARE, Gpu
from rzero_mega.planning.parameters import active_parameters, rank_parameters
from rzero_mega.planning.workload import Workload
from rzero_mega.weights.shape import ModelShape

# What a collective takes however little it moves.
COLLECTIVE_S = 20e-6


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step by what they are spent on; `bubble` is the pipeline's waiting."""

    compute: float
    tensor: float
    context: float
    experts: float
    pipeline: float
    bubble: float
    data: float
    optimizer: float

    @property
    def seconds(self) -> float:
        """All of it."""
        learning = self.compute + self.tensor + self.context + self.experts + self.pipeline + self.bubble
        return learning + self.data + self.optimizer


@dataclass(frozen=True)
class Links:
    """Bytes per second between the ranks of each kind of group.

    Megatron numbers ranks with tp fastest, then cp, dp, pp (experts: etp, ep, dp, pp): a group is inside a node if
    everything up to it is.
    """

    tp: float
    cp: float
    ep: float
    dp: float
    pp: float


def links(layout: ParallelLayout, gpu: Gpu, gpus_per_node: int) -> Links:
    """What the groups of this layout communicate over, at LINK_SHARE of the data sheet."""
    tp = layout.tp
    cp = tp * layout.cp
    dp = cp * layout.dp
    spans = (tp, cp, layout.etp * layout.ep, dp, dp * layout.pp)
    return Links(*(LINK_SHARE * (gpu.nvlink if span <= gpus_per_node else gpu.network) for span in spans))


def step_time(shape: ModelShape, candidate: Candidate, workload: Workload, gpu: Gpu, gpus_per_node: int) -> StepTime:
    """Seconds of one step's scoring passes and optimizer updates."""
    layout, between = candidate.layout, links(candidate.layout, gpu, gpus_per_node)
    micro_batches = workload.updates * workload.micro_batches(layout.dp)
    budget, length = workload.tokens_per_micro_batch, workload.length
    tokens = min(budget, max(1, budget // length) * length)
    # Forward passes' worth of arithmetic: backward counts two, full recompute and each scoring pass one more.
    forwards = 3 + (candidate.recompute == "full") + workload.scoring_passes
    # And of communication: backward communicates as much as forward does.
    exchanges = forwards - 1
    seconds = _forward_seconds(shape, workload, gpu, tokens, forwards, forwards + (candidate.recompute == "selective"))
    compute = micro_batches * seconds / (layout.tp * layout.pp * layout.cp)
    per_layer = micro_batches * exchanges * shape.layers / layout.pp
    tensor = per_layer * _seconds(_tensor_bytes(shape, layout, workload, tokens), between.tp, collectives=4)
    context = per_layer * _seconds(_context_bytes(shape, layout, workload, tokens), between.cp, layout.cp - 1)
    experts = per_layer * _seconds(_expert_bytes(shape, layout, workload, tokens), between.ep, collectives=2)
    sent = micro_batches * exchanges * (layout.vpp if layout.pp > 1 else 0)
    boundary = tokens * shape.hidden * workload.element_bytes / layout.token_ranks
    pipeline = sent * _seconds(boundary, between.pp, collectives=1)
    # (p - 1) / (m v) of a stage's work: Narayanan et al., arXiv 2104.04473, section 2.2.
    idle = (layout.pp - 1) / (workload.micro_batches(layout.dp) * layout.vpp)
    bubble = idle * (compute + tensor + context + experts)
    data, optimizer = _update_seconds(shape, layout, workload, gpu, between.dp)
    return StepTime(
        compute,
        tensor,
        context,
        experts,
        pipeline,
        bubble,
        data=workload.updates * data,
        optimizer=workload.updates * optimizer,
    )


def _seconds(nbytes: float, bandwidth: float, collectives: int) -> float:
    return nbytes / bandwidth + collectives * COLLECTIVE_S if nbytes else 0.0


def _forward_seconds(
    shape: ModelShape, workload: Workload, gpu: Gpu, tokens: int, layers: int, attentions: int
) -> float:
    """One GPU's seconds for the forward passes of `tokens`: of everything `layers` times, of attention `attentions`.

    2 N per token, and of causal attention 2 n d s (half of scores and of weighted values) per token and layer. FP8
    is for the linear layers alone.
    """
    linear = gpu.fp8_flops if workload.fp8 and gpu.fp8_flops else gpu.bf16_flops
    attention = 2 * shape.layers * shape.size("queries") * workload.length
    spent = layers * 2 * active_parameters(shape) / linear + attentions * attention / gpu.bf16_flops
    return tokens * spent / COMPUTE_SHARE


def _tensor_bytes(shape: ModelShape, layout: ParallelLayout, workload: Workload, tokens: int) -> float:
    """Sent by a rank for a layer's forward: two all-reduces, or as much in all-gathers and reduce-scatters."""
    once = tokens / layout.cp * shape.hidden * workload.element_bytes
    reductions = 1 if shape.experts else 2  # experts exchange tokens instead
    return reductions * 2 * (layout.tp - 1) / layout.tp * once


def _context_bytes(shape: ModelShape, layout: ParallelLayout, workload: Workload, tokens: int) -> float:
    """Keys and values of the other ranks' tokens."""
    others = tokens * (layout.cp - 1) / layout.cp
    return others * 2 * shape.size("keys") / layout.tp * workload.element_bytes


def _expert_bytes(shape: ModelShape, layout: ParallelLayout, workload: Workload, tokens: int) -> float:
    """To the experts and back (all-to-all over ep, all-gather and reduce-scatter over etp)."""
    if not shape.experts:
        return 0.0
    chosen = tokens / layout.token_ranks * shape.experts_per_token * shape.hidden * workload.element_bytes
    return 2 * chosen * ((layout.ep - 1) / layout.ep + layout.etp - 1)


def _update_seconds(
    shape: ModelShape, layout: ParallelLayout, workload: Workload, gpu: Gpu, link: float
) -> tuple[float, float]:
    """(communication, arithmetic) of an optimizer update: gradients reduced in fp32, weights gathered, AdamW."""
    held = rank_parameters(shape, layout, 0)
    ranks = layout.dp * layout.cp
    dense = held.dense * (ranks - 1) / ranks
    experts = held.experts * (layout.expert_dp - 1) / layout.expert_dp
    communication = (dense + experts) * (FP32 + workload.element_bytes) / link
    # Three states are read and written, a gradient read, a weight written.
    updated = held.dense / ranks + held.experts / layout.expert_dp
    arithmetic = updated * (7 * FP32 + workload.element_bytes) / (MEMORY_SHARE * gpu.memory_bandwidth)
    return communication, arithmetic
