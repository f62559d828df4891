"""Llama 2 and 3, OctoThinker, SmolLM2."""

from __future__ import annotations

from rzero_mega.weights.mapping.dense import TRUNK, head_rules
from rzero_mega.weights.mapping.table import Rule
from rzero_mega.weights.shape import ModelShape


def rules(shape: ModelShape) -> tuple[Rule, ...]:
    """The table of the family."""
    return TRUNK + head_rules(shape)
