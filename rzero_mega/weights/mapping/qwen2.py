"""Qwen2 and Qwen2.5: biases on queries, keys and values."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import COMMON, MLP, QKV_BIAS, head_rules
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape


def rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The table of the family."""
    return (*COMMON, *MLP, QKV_BIAS, *head_rules(shape))
