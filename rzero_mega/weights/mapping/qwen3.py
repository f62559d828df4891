"""Qwen3, dense: RMSNorm on queries and keys, no biases."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import COMMON, MLP, QK_NORM, head_rules
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape


def rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The table of the family."""
    return COMMON + MLP + QK_NORM + head_rules(shape)
