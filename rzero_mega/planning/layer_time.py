"""Seconds that one rank spends on one layer, and the last pipeline stage on the output layer: arithmetic and memory.

Matrix products go at a share of the GPU's peak. What lies between them is bounded by memory: every kernel reads its
inputs and writes its outputs. They are counted as Transformer Engine's modules and Megatron-core's all-to-all
dispatcher run them, unfused but for SwiGLU and the rotation of queries and keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.activations import FP32
from rzero_mega.planning.assumptions import TrainingShares
from rzero_mega.planning.flops import BACKWARD, attention_flops, layer_flops
from rzero_mega.planning.hardware import Gpu
from rzero_mega.planning.kernels import LEARNER, Kernels
from rzero_mega.planning.parameters import trained_parameters, vocabulary_parameters
from rzero_mega.planning.workload import Workload
from rzero_mega.weights.shape import ModelShape

# Kernels that move all tokens' copies for their experts, forward: by expert, by rank after the exchange, and both back.
EXPERT_MOVES = 4
# Bytes per element of an FP8 product's inputs: read, written in FP8, read, and written transposed.
FP8_CAST = 6


@dataclass(frozen=True)
class Passes:
    """Seconds of a forward pass and of the backward pass that belongs to it, which computes nothing a second time."""

    forward: float
    backward: float

    def total(self, forwards: float, backwards: float) -> float:
        """Of so many."""
        return forwards * self.forward + backwards * self.backward


@dataclass(frozen=True)
class LayerTime:
    """One layer and one micro-batch on one rank. `core` is attention's share, which `selective` recomputes."""

    products: Passes
    core: Passes
    memory: Passes

    @property
    def whole(self) -> Passes:
        """All of it."""
        parts = (self.products, self.core, self.memory)
        return Passes(sum(part.forward for part in parts), sum(part.backward for part in parts))


def layer_time(
    shape: ModelShape, layout: ParallelLayout, workload: Workload, gpu: Gpu, shares: TrainingShares, tokens: float
) -> LayerTime:
    """Of a micro-batch of so many tokens, all of sequences of the workload's length."""
    here = tokens / (layout.tp * layout.cp)
    products = here * layer_flops(shape) / _linear_rate(workload, gpu, shares)
    # Backward computes five products where forward has two. What adapters multiply is left out.
    core = here * attention_flops(shape) * workload.length / (shares.attention_share * gpu.bf16_flops)
    memory = _memory_bytes(shape, layout, workload, tokens)
    bandwidth = shares.memory_share * gpu.memory_bandwidth
    return LayerTime(
        Passes(products, products if workload.adapter_rank else BACKWARD * products),
        Passes(core, 2.5 * core),
        Passes(memory.forward / bandwidth, memory.backward / bandwidth),
    )


def output_time(
    shape: ModelShape,
    layout: ParallelLayout,
    workload: Workload,
    gpu: Gpu,
    shares: TrainingShares,
    tokens: float,
    kernels: Kernels = LEARNER,
) -> Passes:
    """Of the output layer with its log-probabilities, on a rank of the last stage; tokens of prompts count as well."""
    rows, width = -(-shape.vocab // layout.tp), workload.element_bytes
    here = tokens / layout.cp
    product = 2 * here * rows * shape.hidden / (shares.gemm_share * gpu.bf16_flops)
    bandwidth = shares.memory_share * gpu.memory_bandwidth
    forward, backward = (here * rows * nbytes for nbytes in kernels.logit_bytes(width))
    gradient = rows * shape.hidden * kernels.output_gradient_bytes(width, kernels.chunks(shape, layout, width, here))
    products = kernels.backward_products
    if workload.adapter_rank:  # without the gradient of its weight
        products, gradient = products - 1, 0
    return Passes(product + forward / bandwidth, products * product + (backward + gradient) / bandwidth)


def accumulation_time(
    shape: ModelShape,
    layout: ParallelLayout,
    workload: Workload,
    gpu: Gpu,
    shares: TrainingShares,
    kernels: Kernels = LEARNER,
) -> float:
    """Seconds in which a micro-batch's gradients are added to those of the update, in fp32.

    What a product adds to itself isn't overlapped with its arithmetic here.
    """
    held = trained_parameters(shape, layout, 0, workload)
    # Adapters' gradients come out of products of their own kind, which sum nothing.
    sums_in_layers = kernels.sums_in_layers and not workload.adapter_rank
    apart = vocabulary_parameters(shape, layout, 0) if sums_in_layers else held.dense + held.experts
    nbytes = apart * 2 * workload.element_bytes + (held.dense + held.experts) * 2 * FP32
    return nbytes / (shares.memory_share * gpu.memory_bandwidth)


def _linear_rate(workload: Workload, gpu: Gpu, shares: TrainingShares) -> float:
    if workload.fp8 and gpu.fp8_flops:
        return shares.fp8_gemm_share * gpu.fp8_flops
    return shares.gemm_share * gpu.bf16_flops


def _memory_bytes(shape: ModelShape, layout: ParallelLayout, workload: Workload, tokens: float) -> Passes:
    """Bytes that one rank moves between matrix products of a layer, one with experts where there are some."""
    width, across = workload.element_bytes, tokens / (layout.tp * layout.cp)
    heads, keys = shape.size("queries") + shape.size("keys"), shape.size("keys")
    # Two norms and two residual sums on what tokens the rank has.
    hidden = tokens / layout.token_ranks * shape.hidden * width
    # Queries, keys and values are cut out of one product; norms of heads where the model has them; the rotation.
    mixed = across * (heads + keys) * width
    turned = across * heads * width
    # Going back, a norm reads its input and the gradient, and the sums of its weight's gradient read both again.
    forward = (2 * 2 + 2 * 3) * hidden + 2 * mixed + (2 * shape.qk_norm + 2) * turned
    backward = (2 * 4 + 2 * 2) * hidden + 2 * mixed + (4 * shape.qk_norm + 2) * turned
    if shape.experts:
        sent = tokens / layout.token_ranks * shape.experts_per_token * width
        moved = 2 * (EXPERT_MOVES if layout.ep > 1 else EXPERT_MOVES // 2) * sent * shape.hidden
        halves = sent * shape.expert_ffn + across * shape.shared_ffn * width
        scores = tokens / layout.token_ranks * shape.experts * FP32
        forward, backward = forward + moved + 4 * scores, backward + moved + 4 * scores
    else:
        halves = across * shape.ffn * width
    # SwiGLU reads two halves and writes their product; back it reads its gradient as well, and writes two.
    forward, backward = forward + 3 * halves, backward + 5 * halves
    if workload.fp8:
        # Inputs of the four products going forward, gradients of their outputs going back.
        inputs = 2 * hidden / width + (across * shape.size("queries")) + halves / width
        outputs = mixed / width + 2 * hidden / width + 2 * halves / width
        forward, backward = forward + FP8_CAST * inputs, backward + FP8_CAST * outputs
    return Passes(forward, backward)
