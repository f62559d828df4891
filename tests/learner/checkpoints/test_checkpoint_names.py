"""Checkpoints hold weights under the names that Transformer Engine's modules look for, whatever wrote them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.checkpoints.checkpoint import _sharded_weights
from rzero_mega.learner.megatron.model import build_model
from rzero_mega.weights.shape import read_shape


@pytest.mark.parametrize(
    ("family", "norm"),
    [
        # A dense MLP's norm is part of its first layer; before a router it stands alone.
        ("qwen3", "decoder.layers.mlp.linear_fc1.layer_norm_weight"),
        ("qwen3_moe", "decoder.layers.pre_mlp_layernorm.weight"),
    ],
)
def test_the_norm_before_the_mlp_has_transformer_engine_s_name(
    family: str, norm: str, tiny_model: Callable[..., Any], alone: ParallelLayout, tmp_path: Path
) -> None:
    tiny_model(family).save_pretrained(tmp_path)
    model = build_model(read_shape(tmp_path), alone, LearnerConfig(dtype="float32"))
    (chunk,) = _sharded_weights(model, {}).values()
    keys = {tensor.key for tensor in chunk.values() if hasattr(tensor, "key")}
    assert norm in keys and "decoder.layers.self_attention.linear_qkv.layer_norm_weight" in keys
    assert len({key for key in keys if "pre_mlp" in key or "fc1.layer_norm" in key}) == 1
