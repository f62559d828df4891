"""How long the learner's part of a training step takes: an estimate; one H100 took 1.3 (bf16) and 2.1 (FP8) times it.

A roofline: arithmetic at a share of the data sheet's peak, communication at a share of the links' bandwidth, nothing
overlapped, every sequence at its full length. It is for ranking layouts, not for promising tokens per second.
"""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.planning.activations import FP32
from rzero_mega.planning.candidate import Candidate, Workload
from rzero_mega.planning.hardware import COMPUTE_SHARE, LINK_SHARE, MEMORY_SHARE, Gpu
from rzero_mega.planning.parameters import active_parameters, rank_parameters
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
        return (
            self.compute
            + self.tensor
            + self.context
            + self.experts
            + self.pipeline
            + self.bubble
            + self.data
            + self.optimizer
        )


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


def links(candidate: Candidate, gpu: Gpu, gpus_per_node: int) -> Links:
    """What the groups of this layout communicate over, at LINK_SHARE of the data sheet."""
    tp = candidate.tp
    cp = tp * candidate.cp
    dp = cp * candidate.dp
    spans = (tp, cp, candidate.etp * candidate.ep, dp, dp * candidate.pp)
    return Links(*(LINK_SHARE * (gpu.nvlink if span <= gpus_per_node else gpu.network) for span in spans))


def step_time(shape: ModelShape, candidate: Candidate, work: Workload, gpu: Gpu, gpus_per_node: int) -> StepTime:
    """Seconds of one step's scoring passes and optimizer updates."""
    between = links(candidate, gpu, gpus_per_node)
    micro_batches = work.updates * work.micro_batches(candidate.dp)
    tokens = min(work.tokens_per_micro_batch, max(1, work.tokens_per_micro_batch // work.length) * work.length)
    # Forward passes' worth of arithmetic: backward counts two, full recompute and each scoring pass one more.
    forwards = 3 + (candidate.recompute == "full") + work.scoring_passes
    # And of communication: backward communicates as much as forward does.
    exchanges = forwards - 1
    seconds = _forward_seconds(shape, work, gpu, tokens, forwards, forwards + (candidate.recompute == "selective"))
    compute = micro_batches * seconds / (candidate.tp * candidate.pp * candidate.cp)
    per_layer = micro_batches * exchanges * shape.layers / candidate.pp
    tensor = per_layer * _seconds(_tensor_bytes(shape, candidate, work, tokens), between.tp, collectives=4)
    context = per_layer * _seconds(_context_bytes(shape, candidate, work, tokens), between.cp, candidate.cp - 1)
    experts = per_layer * _seconds(_expert_bytes(shape, candidate, work, tokens), between.ep, collectives=2)
    sent = micro_batches * exchanges * (candidate.vpp if candidate.pp > 1 else 0)
    boundary = tokens * shape.hidden * work.element_bytes / candidate.token_ranks
    pipeline = sent * _seconds(boundary, between.pp, collectives=1)
    # (p - 1) / (m v) of a stage's work: Narayanan et al., arXiv 2104.04473, section 2.2.
    idle = (candidate.pp - 1) / (work.micro_batches(candidate.dp) * candidate.vpp)
    bubble = idle * (compute + tensor + context + experts)
    data, optimizer = _update_seconds(shape, candidate, work, gpu, between.dp)
    return StepTime(compute, tensor, context, experts, pipeline, bubble, work.updates * data, work.updates * optimizer)


def _seconds(nbytes: float, bandwidth: float, collectives: int) -> float:
    return nbytes / bandwidth + collectives * COLLECTIVE_S if nbytes else 0.0


def _forward_seconds(shape: ModelShape, work: Workload, gpu: Gpu, tokens: int, layers: int, attentions: int) -> float:
    """One GPU's seconds for the forward passes of `tokens`: of everything `layers` times, of attention `attentions`.

    2 N per token, and of causal attention 2 n d s (half of scores and of weighted values) per token and layer. FP8
    is for the linear layers alone.
    """
    linear = gpu.fp8_flops if work.fp8 and gpu.fp8_flops else gpu.bf16_flops
    attention = 2 * shape.layers * shape.size("queries") * work.length
    spent = layers * 2 * active_parameters(shape) / linear + attentions * attention / gpu.bf16_flops
    return tokens * spent / COMPUTE_SHARE


def _tensor_bytes(shape: ModelShape, candidate: Candidate, work: Workload, tokens: int) -> float:
    """Sent by a rank for a layer's forward: two all-reduces, or as much in all-gathers and reduce-scatters."""
    once = tokens / candidate.cp * shape.hidden * work.element_bytes
    reductions = 1 if shape.experts else 2  # experts exchange tokens instead
    return reductions * 2 * (candidate.tp - 1) / candidate.tp * once


def _context_bytes(shape: ModelShape, candidate: Candidate, work: Workload, tokens: int) -> float:
    """Keys and values of the other ranks' tokens."""
    others = tokens * (candidate.cp - 1) / candidate.cp
    return others * 2 * shape.size("keys") / candidate.tp * work.element_bytes


def _expert_bytes(shape: ModelShape, candidate: Candidate, work: Workload, tokens: int) -> float:
    """To the experts and back (all-to-all over ep, all-gather and reduce-scatter over etp)."""
    if not shape.experts:
        return 0.0
    chosen = tokens / candidate.token_ranks * shape.experts_per_token * shape.hidden * work.element_bytes
    return 2 * chosen * ((candidate.ep - 1) / candidate.ep + candidate.etp - 1)


def _update_seconds(
    shape: ModelShape, candidate: Candidate, work: Workload, gpu: Gpu, link: float
) -> tuple[float, float]:
    """(communication, arithmetic) of an optimizer update: gradients reduced in fp32, weights gathered, AdamW."""
    held = rank_parameters(shape, candidate, 0)
    ranks = candidate.dp * candidate.cp
    dense = held.dense * (ranks - 1) / ranks
    experts = held.experts * (candidate.expert_dp - 1) / candidate.expert_dp
    communication = (dense + experts) * (FP32 + work.element_bytes) / link
    # Three states are read and written, a gradient read, a weight written.
    updated = held.dense / ranks + held.experts / candidate.expert_dp
    arithmetic = updated * (7 * FP32 + work.element_bytes) / (MEMORY_SHARE * gpu.memory_bandwidth)
    return communication, arithmetic
