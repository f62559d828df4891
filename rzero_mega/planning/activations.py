"""Bytes that a transformer layer saves for its backward pass.

The count follows Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models" (arXiv
2205.05198), section 4: of every operation, the tensors that its gradient needs. What differs here: grouped keys and
values, SwiGLU of three matrices, attention that never forms the [s, s] matrix, packed sequences without dropout,
RMSNorm of queries and keys, experts.

Two sets of modules are known (`TransformerImpl`). `transformer_engine` is what runs on GPUs: derived from Transformer
Engine's modules (normalisation fused into the linear layer, which saves its input and the normalised input; flash
attention; fused SwiGLU); what torch held on one H100 is within 7 % of it. `local` is what runs on CPUs: the learner's
own RMSNorm and SDPA among Megatron's local modules, which save more; tests compare it with what torch saves.
"""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.workload import TransformerImpl, Workload
from rzero_mega.weights.shape import ModelShape

# Bytes of a number in fp32, and of an index (int64).
FP32 = 4
INDEX = 8


@dataclass(frozen=True)
class LayerBytes:
    """Bytes per token of the model's input: `saved` to the backward pass, `input` alone, `workspace` of gradients."""

    saved: float
    input: float
    workspace: float


def layer_bytes(shape: ModelShape, candidate: Candidate, workload: Workload) -> LayerBytes:
    """What one layer holds on one rank, divided by the tokens of the whole micro-batch.

    Where there are experts it is a layer that has some: the few before them hold less or about as much.
    """
    layout, width, impl = candidate.layout, workload.element_bytes, workload.transformer_impl
    core = _local_attention if impl == "local" else _te_attention
    if shape.latent is not None:
        core = _latent_attention
    norm = norm_bytes(shape, impl, width) / layout.token_ranks
    mlp = _experts(shape, layout, impl, width) if shape.experts else _mlp(shape, layout, impl, width)
    attention = core(shape, candidate.recompute == "selective", width) / (layout.cp * layout.tp)
    turned = shape.head_dim if shape.latent is None else shape.latent.rotated
    rotary = 4 * turned * width / layout.cp  # cosines and sines, for queries and keys
    hidden = shape.hidden * width / layout.token_ranks
    # Backward of the MLP: gradients of its product, of both halves of its first matrix, of its input and output.
    widest = _mlp_width(shape, layout)
    return LayerBytes(2 * norm + attention + rotary + mlp, hidden, 3 * widest * width + 2 * hidden)


def norm_bytes(shape: ModelShape, impl: TransformerImpl, width: int) -> float:
    """Per token: what a normalisation of the hidden state and the linear layer after it save of their inputs.

    `width` is the bytes of an activation's element (2 or 4).
    """
    if impl == "transformer_engine":
        return 2 * shape.hidden * width + FP32
    # The local RMSNorm computes in fp32: its input there, normalised, and multiplied by the weight.
    return shape.hidden * (FP32 + 2 * width) + FP32


def _te_attention(shape: ModelShape, selective: bool, width: int) -> float:
    queries, keys = shape.size("queries"), shape.size("keys")
    mixed = queries + 2 * keys  # values are a view of it, and so are the inputs of the norm of keys
    normed = shape.qk_norm * queries * (shape.kv_heads != shape.heads)
    statistics = FP32 * (shape.qk_norm * (shape.heads + shape.kv_heads) + (0 if selective else shape.heads))
    return (mixed + normed + queries + keys + queries) * width + statistics


def _local_attention(shape: ModelShape, selective: bool, width: int) -> float:
    """Selective recompute keeps the packed inputs of the attention; otherwise its unpacked inputs and output stay."""
    queries, keys = shape.size("queries"), shape.size("keys")
    mixed = (queries + 2 * keys) * width
    norms, holds_mixed = 0.0, selective
    if shape.qk_norm:
        grouped = shape.kv_heads != shape.heads
        if width == FP32:
            norms = (queries * (1 + grouped) + keys) * width
            holds_mixed = True
        else:
            norms = (queries + keys) * (FP32 + width)
        norms += FP32 * (shape.heads + shape.kv_heads)
    kept = (queries + keys) * width
    if not selective:
        kept += (queries + keys) * width + FP32 * shape.heads
    return norms + holds_mixed * mixed + kept + queries * width


def _latent_attention(shape: ModelShape, selective: bool, width: int) -> float:
    """What queries, keys and values are made of, themselves and packed, and what comes out."""
    small = shape.size("small_queries") + shape.size("small_keys")
    heads = (2 - selective) * (shape.size("queries") + shape.size("keys")) + 2 * shape.size("values")
    statistics = FP32 * (0 if selective else shape.heads)
    return (FP32 + 2 * width) * small + heads * width + statistics


def _mlp(shape: ModelShape, layout: ParallelLayout, impl: TransformerImpl, width: int) -> float:
    # Fused SwiGLU saves the first matrix's output, the second matrix its input; unfused, SiLU's output and a copy of
    # the other half besides.
    halves = 3 if impl == "transformer_engine" else 5
    return halves * shape.ffn / (layout.tp * layout.cp) * width


def _experts(shape: ModelShape, layout: ParallelLayout, impl: TransformerImpl, width: int) -> float:
    """Router and experts, tokens spread evenly over experts."""
    k, ranks = shape.experts_per_token, layout.token_ranks
    # Logits or scores in fp32, the map of who is chosen, and for every choice its scores and places.
    router = (shape.experts * (FP32 + 1) + k * (2 * FP32 + 4 * INDEX)) / ranks
    received = k * shape.hidden * width * layout.etp / ranks
    halves = 3 if impl == "transformer_engine" else 6
    chosen = k * shape.expert_ffn / ranks
    shared = (3 if impl == "transformer_engine" else 5) * shape.shared_ffn / (layout.tp * layout.cp)
    return router + received + (halves * chosen + shared) * width


def _mlp_width(shape: ModelShape, layout: ParallelLayout) -> float:
    """Columns of the MLP per token of the model's input, on one rank."""
    if shape.experts:
        return shape.experts_per_token * shape.expert_ffn / layout.token_ranks
    return shape.ffn / (layout.tp * layout.cp)
