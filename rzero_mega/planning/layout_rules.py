"""Which parallel layouts divide which models, and which models have adapters."""

from __future__ import annotations

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LoraConfig
from rzero_mega.errors import UserError
from rzero_mega.weights.shape import ModelShape


def check_layout(shape: ModelShape, layout: ParallelLayout) -> None:
    """UserError names the key of the layout that does not divide this model."""
    if shape.layers % layout.pp:
        raise UserError(f"learner.layout.pp: {layout.pp} stages do not divide the model's {shape.layers} layers")
    if shape.layers % (layout.pp * layout.vpp):
        raise UserError(
            f"learner.layout.vpp: {layout.pp} stages of {layout.vpp} chunks do not divide the model's "
            f"{shape.layers} layers"
        )
    cut = [("attention heads", shape.heads), ("ffn", shape.ffn), ("shared experts' ffn", shape.shared_ffn)]
    if shape.latent is not None:
        cut += [("latent queries", shape.size("small_queries")), ("latent keys", shape.size("small_keys"))]
    for what, size in cut:
        if size % layout.tp:
            raise UserError(f"learner.layout.tp: {layout.tp} does not divide the model's {size} {what}")
    if shape.kv_heads % layout.tp and layout.tp % shape.kv_heads:
        raise UserError(
            f"learner.layout.tp: {layout.tp} is neither a divisor nor a multiple of the model's "
            f"{shape.kv_heads} key-value heads"
        )
    if layout.ep > 1 and not shape.experts:
        raise UserError(f"learner.layout.ep: {layout.ep}, but the model has no experts; set it to 1")
    if shape.experts % layout.ep:
        raise UserError(f"learner.layout.ep: {layout.ep} does not divide the model's {shape.experts} experts")
    if shape.expert_ffn % layout.etp:
        raise UserError(f"learner.layout.etp: {layout.etp} does not divide the experts' {shape.expert_ffn} ffn")
    if shape.experts and layout.ep == 1 and layout.etp != layout.tp:
        # Megatron-core then takes experts for a part of the dense model, and sums their gradients over its ranks.
        raise UserError(
            f"learner.layout.etp: {layout.etp} is not the tp {layout.tp}, which it must be where ep is 1; "
            "leave it out, or set ep above 1"
        )
    if shape.experts and layout.tp > 1 and not layout.sequence_parallel:
        raise UserError("learner.layout.sequence_parallel: experts with tp above 1 need it; set it to true")


def check_learner(shape: ModelShape, layout: ParallelLayout, lora: LoraConfig) -> None:
    """UserError names the key if the model can't be trained under the layout, or can't have the adapters."""
    check_layout(shape, layout)
    check_lora(lora, shape)


def check_lora(lora: LoraConfig, shape: ModelShape) -> None:
    """UserError names the key if the model can't have adapters."""
    if lora.rank is not None and shape.experts:
        raise UserError("learner.lora.rank: mixtures of experts have no adapters here; set it to null")
