"""Between Hugging Face names and Megatron names: one table per model family, both directions."""

from __future__ import annotations

from rzero_mega.weights.mapping import deepseek_v3, glm4_moe, llama, qwen2, qwen3, qwen3_moe
from rzero_mega.weights.mapping.dense import SCORE_RULE
from rzero_mega.weights.mapping.table import Entry, expand, hf_sizes
from rzero_mega.weights.shape import ModelShape

_TABLES = {
    "qwen3": qwen3.rules,
    "qwen3_moe": qwen3_moe.rules,
    "qwen2": qwen2.rules,
    "llama": llama.rules,
    "glm4_moe": glm4_moe.rules,
    "deepseek_v3": deepseek_v3.rules,
}


def entries(shape: ModelShape) -> list[Entry]:
    """Every tensor of a model of this shape, with its names on both sides."""
    rules = _TABLES[shape.family](shape)
    return expand((*rules, SCORE_RULE) if shape.scores else rules, shape)


__all__ = ["Entry", "entries", "hf_sizes"]
