"""The model families that the learner and the rollout engines know."""

from __future__ import annotations

SUPPORTED_MODEL_TYPES = ("qwen3", "qwen3_moe", "qwen2", "llama", "glm4_moe", "deepseek_v3")
