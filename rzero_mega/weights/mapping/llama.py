"""Llama 2 and 3, OctoThinker, SmolLM2."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import COMMON, MLP, head_rules
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape


def rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The table of the family."""
    return COMMON + MLP + head_rules(shape)
