"""Qwen3 with a mixture of experts in every layer (30B-A3B, 235B-A22B)."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import COMMON, QK_NORM, head_rules
from rzero_mega.weights.mapping.experts import EXPERTS
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape


def rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The table of the family."""
    return COMMON + QK_NORM + EXPERTS + head_rules(shape)
