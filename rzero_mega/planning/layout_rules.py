"""Which parallel layouts divide which models. Pure: the planner asks without Megatron or torch."""

from __future__ import annotations

from typing import Protocol

from rzero_mega.errors import UserError
from rzero_mega.weights.shape import ModelShape


class LayoutSizes(Protocol):
    """The sizes that the rules read."""

    @property
    def tp(self) -> int: ...
    @property
    def pp(self) -> int: ...
    @property
    def vpp(self) -> int: ...
    @property
    def ep(self) -> int: ...
    @property
    def etp(self) -> int: ...
    @property
    def sequence_parallel(self) -> bool: ...


def check_layout(shape: ModelShape, layout: LayoutSizes) -> None:
    """UserError names the key of the layout that does not divide this model."""
    if shape.layers % layout.pp:
        raise UserError(f"learner.layout.pp: {layout.pp} stages do not divide the model's {shape.layers} layers")
    if shape.layers % (layout.pp * (layout.vpp)):
        raise UserError(
            f"learner.layout.vpp: {layout.pp} stages of {layout.vpp} chunks do not divide the model's "
            f"{shape.layers} layers"
        )
    for what, size in (("attention heads", shape.heads), ("ffn", shape.ffn)):
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
        # Megatron-core takes experts for a part of the dense model then, and sums their gradients over its ranks.
        raise UserError(
            f"learner.layout.etp: {layout.etp} is not the tp {layout.tp}, which it must be where ep is 1; "
            "leave it out, or set ep above 1"
        )
    if shape.experts and layout.tp > 1 and not layout.sequence_parallel:
        raise UserError("learner.layout.sequence_parallel: experts with tp above 1 need it; set it to true")
