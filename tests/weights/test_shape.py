from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.errors import UserError
from rzero_mega.weights.families import SUPPORTED_MODEL_TYPES
from rzero_mega.weights.shape import LLAMA3_ROPE, LatentAttention, ModelShape, Yarn, read_shape, shape_of

SIZES = {
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-5,
}
GLM = {
    "n_routed_experts": 8, "num_experts_per_tok": 4, "moe_intermediate_size": 20, "head_dim": 16,
    "routed_scaling_factor": 2.5,
}  # fmt: skip
LATENT = {
    "n_routed_experts": 8, "num_experts_per_tok": 4, "moe_intermediate_size": 20, "n_group": 4, "topk_group": 2,
    "first_k_dense_replace": 1, "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "q_lora_rank": 20, "kv_lora_rank": 24,
    "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 16,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 16,
    "beta_fast": 32, "beta_slow": 1, "mscale": 0.7, "mscale_all_dim": 0.7,
}  # fmt: skip
BIASED = ("biased_routing", "shared_ffn", "dense_layers", "routed_scale")
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, **LLAMA3_ROPE}


def shape(family: str, **keys: Any) -> ModelShape:
    from transformers import AutoConfig

    return shape_of(AutoConfig.for_model(family, **{**SIZES, **keys}))


@pytest.mark.parametrize("family", [family for family in SUPPORTED_MODEL_TYPES if family != "deepseek_v3"])
def test_sizes_are_read_from_the_configuration(family: str) -> None:
    found = shape(family, rope_parameters={"rope_type": "default", "rope_theta": 12345.0, "partial_rotary_factor": 1.0})
    assert found == ModelShape(
        family=family,
        layers=3,
        hidden=32,
        ffn=48,
        heads=4,
        kv_heads=2,
        head_dim=found.head_dim,
        vocab=100,
        max_positions=128,
        norm_epsilon=1e-5,
        rope_base=12345.0,
        rope_factor=None,
        tied=True,
        qk_norm=family in ("qwen3", "qwen3_moe"),
        qkv_bias=family == "qwen2",
        experts=found.experts,
        experts_per_token=found.experts_per_token,
        expert_ffn=found.expert_ffn,
        normalised_routing=family != "qwen3_moe",
        **({field: getattr(found, field) for field in BIASED} if family == "glm4_moe" else {}),
    )


def test_routing_by_biased_scores_is_read_from_the_configuration() -> None:
    found = shape("glm4_moe", **GLM, n_shared_experts=2, n_group=4, topk_group=2, first_k_dense_replace=2)
    assert (found.experts, found.experts_per_token, found.expert_ffn, found.shared_ffn) == (8, 4, 20, 40)
    assert (found.dense_layers, found.expert_layers, found.has_experts(1), found.has_experts(2)) == (2, 1, False, True)
    assert (found.biased_routing, found.expert_groups, found.chosen_groups, found.routed_scale) == (True, 4, 2, 2.5)
    assert (found.rotated, found.qk_norm, found.qkv_bias) == (0.5, False, False)
    assert shape("glm4_moe", **GLM, use_qk_norm=True, attention_bias=True).qk_norm
    assert shape("glm4_moe", **GLM, attention_bias=True).qkv_bias


def test_latent_attention_is_read_from_the_configuration() -> None:
    found = shape("deepseek_v3", **LATENT, rope_parameters=YARN)
    assert found.latent == LatentAttention(20, 24, 12, 8, 16, Yarn(8.0, 16, 32.0, 1.0, 0.7))
    sizes = {"queries": 80, "values": 64, "small_queries": 20, "small_keys": 32, "kv_rank": 24, "keys_values": 112}
    assert {name: found.size(name) for name in sizes} == sizes
    assert (found.head_dim, found.biased_routing, found.rope_factor) == (20, True, None)
    plain = shape("deepseek_v3", **LATENT).latent
    assert plain is not None and plain.yarn is None


def test_experts_are_read_from_the_configuration() -> None:
    keys = {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 20, "norm_topk_prob": True}
    found = shape("qwen3_moe", **keys)
    assert (found.experts, found.experts_per_token, found.expert_ffn, found.normalised_routing) == (6, 3, 20, True)
    assert (shape("qwen3").experts, shape("llama").expert_ffn) == (0, 0)


@pytest.mark.parametrize("keys", [{"decoder_sparse_step": 2}, {"mlp_only_layers": [1]}])
def test_layers_without_experts_among_layers_with_them_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(keys))):
        shape("qwen3_moe", **keys)


def test_more_experts_per_token_than_experts_are_refused() -> None:
    with pytest.raises(UserError, match="num_experts_per_tok"):
        shape("qwen3_moe", num_experts=4, num_experts_per_tok=5)


def test_the_head_dimension_is_the_configured_one_or_hidden_over_heads() -> None:
    assert shape("qwen3", head_dim=24).head_dim == 24
    assert shape("qwen2").head_dim == 8
    assert shape("llama").head_dim == 8


def test_without_key_value_heads_every_head_has_its_own() -> None:
    assert shape("llama", num_key_value_heads=None).kv_heads == 4


def test_the_scaling_of_llama_3_is_read() -> None:
    found = shape("llama", rope_parameters=LLAMA3, max_position_embeddings=131072)
    assert (found.rope_base, found.rope_factor) == (5e5, 32.0)


@pytest.mark.parametrize(
    ("family", "keys", "named"),
    [
        ("mistral", {}, "model_type mistral"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ("llama", {"attention_bias": True}, "attention_bias"),
        ("qwen3", {"attention_bias": True}, "attention_bias"),
        ("llama", {"mlp_bias": True}, "mlp_bias"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}}, "rope_type 'yarn'"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, "rope_type 'linear'"),
        ("glm4_moe", {**GLM, "norm_topk_prob": False}, "norm_topk_prob"),
        ("glm4_moe", {**GLM, "num_experts_per_tok": 1}, "num_experts_per_tok"),
        ("glm4_moe", {**GLM, "first_k_dense_replace": 3}, "first_k_dense_replace"),
        ("glm4_moe", {**GLM, "n_shared_experts": 0}, "n_shared_experts"),
        ("glm4_moe", {**GLM, "n_group": 3}, "n_group"),
        ("glm4_moe", {**GLM, "n_group": 4, "topk_group": 3}, "topk_group: 3"),
        ("glm4_moe", {**GLM, "n_group": 4, "topk_group": 2, "num_experts_per_tok": 5}, "topk_group: 2"),
        ("glm4_moe", {**GLM, "partial_rotary_factor": 0.2}, "partial_rotary_factor 0.2"),
        ("deepseek_v3", {**LATENT, "rope_interleave": False}, "rope_interleave"),
        ("deepseek_v3", {**LATENT, "num_key_value_heads": 2}, "num_key_value_heads"),
        ("deepseek_v3", {**LATENT, "q_lora_rank": None}, "q_lora_rank null"),
        ("deepseek_v3", {**LATENT, "rms_norm_eps": 1e-5}, "rms_norm_eps 1e-05"),
        ("deepseek_v3", {**LATENT, "rope_parameters": {**YARN, "mscale": 1.0}}, "mscale"),
        ("deepseek_v3", {**LATENT, "rope_parameters": {**YARN, "attention_factor": 1.0}}, "mscale"),
        ("deepseek_v3", {**LATENT, "rope_parameters": LLAMA3}, "rope_type 'llama3'"),
        ("deepseek_v3", {**LATENT, "norm_topk_prob": False}, "norm_topk_prob"),
        ("llama", {"rope_parameters": {**LLAMA3, "low_freq_factor": 2.0}}, "low_freq_factor 2.0"),
        ("llama", {"rope_parameters": {**LLAMA3, "original_max_position_embeddings": 64}}, "embeddings 64"),
    ],
)
def test_a_feature_that_is_not_supported_is_named(family: str, keys: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        shape(family, **keys)


@pytest.mark.parametrize("family", SUPPORTED_MODEL_TYPES)
@pytest.mark.parametrize(
    "keys",
    [
        {"hidden_size": "many"},
        {"hidden_size": None},
        {"num_attention_heads": 0},
        {"num_hidden_layers": -1},
        {"num_attention_heads": 3},
        {"rope_parameters": [1]},
        {"tie_word_embeddings": "no"},
    ],
)
def test_impossible_values_end_in_one_line(family: str, keys: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family, **SIZES, **keys}))
    with pytest.raises(UserError, match=r"config\.json") as caught:
        read_shape(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_partly_rotated_head_is_refused() -> None:
    partial = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    with pytest.raises(UserError, match="partial_rotary_factor"):
        shape("llama", rope_parameters=partial)


def test_a_folder_is_read_like_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3", **SIZES}))
    assert read_shape(tmp_path) == shape("qwen3")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model_type": "no_such_family"}', "{}"])
def test_a_configuration_that_cannot_be_read_is_named(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json|model_type") as caught:
        read_shape(tmp_path)
    assert "\n" not in str(caught.value)


def test_code_that_a_model_brings_along_does_not_run(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "configuration_own.py").write_text(f"open({str(canary)!r}, 'w')\n")
    own = {"model_type": "own", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}, **SIZES}
    (tmp_path / "config.json").write_text(json.dumps(own))
    with pytest.raises(UserError, match=r"config\.json"):
        read_shape(tmp_path)
    assert not canary.exists()
