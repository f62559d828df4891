"""What a model's Hugging Face configuration says about the shapes of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rzero_mega.errors import UserError, first_line
from rzero_mega.weights.families import SUPPORTED_MODEL_TYPES
from rzero_mega.weights.model_config import read_config

# Llama 3's frequency scaling has these constants everywhere; Megatron-core has them built in.
LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


@dataclass(frozen=True)
class ModelShape:
    """A decoder: sizes, and the features in which the families differ.

    `rope_factor` is Llama 3's, or None. `experts` is 0 for a dense model; otherwise every layer routes each token to
    `experts_per_token` of them, whose weights sum to one if `normalised_routing`. `scores` is 1 for a Critic, which has
    a head that makes one number of a hidden state, and 0 for every model that writes.
    """

    family: str
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_positions: int
    norm_epsilon: float
    rope_base: float
    rope_factor: float | None
    tied: bool
    qk_norm: bool
    qkv_bias: bool
    experts: int = 0
    experts_per_token: int = 0
    expert_ffn: int = 0
    normalised_routing: bool = True
    scores: int = 0

    def size(self, dim: str) -> int:
        """Length of a dimension by its name in the mapping tables: a field, or `queries` and `keys` of all heads."""
        if dim == "queries":
            return self.heads * self.head_dim
        if dim == "keys":
            return self.kv_heads * self.head_dim
        return int(getattr(self, dim))


def read_shape(folder: Path) -> ModelShape:
    """Shape of the model in `folder`; UserError names the configuration key that is not supported."""
    config = read_config(folder)
    try:
        return shape_of(config)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as error:
        reason = first_line(error)
        raise UserError(f"{folder / 'config.json'}: not readable as a model configuration: {reason}") from None


def shape_of(config: Any) -> ModelShape:
    """Shape of a transformers configuration object."""
    family = str(config.model_type)
    if family not in SUPPORTED_MODEL_TYPES:
        raise UserError(f"model_type {family}: not supported; supported are {', '.join(SUPPORTED_MODEL_TYPES)}")
    _refuse(config, family)
    rope = dict(config.rope_parameters)
    shape = ModelShape(
        family=family,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        ffn=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // max(1, config.num_attention_heads),
        vocab=config.vocab_size,
        max_positions=config.max_position_embeddings,
        norm_epsilon=float(config.rms_norm_eps),
        rope_base=float(rope["rope_theta"]),
        rope_factor=_rope_factor(rope),
        tied=bool(config.tie_word_embeddings),
        qk_norm=family in ("qwen3", "qwen3_moe"),
        qkv_bias=family == "qwen2",
        **_expert_fields(config, family),
    )
    _check_sizes(shape)
    return shape


def _check_sizes(shape: ModelShape) -> None:
    for name in ("layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "vocab", "max_positions"):
        if getattr(shape, name) < 1:
            raise UserError(f"config.json: a model cannot have {getattr(shape, name)} {name}")
    if shape.experts and not 1 <= shape.experts_per_token <= shape.experts:
        raise UserError(f"config.json num_experts_per_tok: {shape.experts_per_token} of {shape.experts} experts")
    if shape.experts and shape.expert_ffn < 1:
        raise UserError(f"config.json moe_intermediate_size: a model cannot have {shape.expert_ffn}")
    for name, value, most in (
        ("rms_norm_eps", shape.norm_epsilon, 1.0),
        ("rope_theta", shape.rope_base, 1e15),
        ("rope factor", shape.rope_factor or 1.0, 1e6),
    ):
        if not (isinstance(value, float) and 0.0 < value <= most):
            raise UserError(f"config.json {name}: {value!r} is no number above 0 and up to {most:g}")
    if shape.heads % shape.kv_heads:
        raise UserError(f"config.json num_key_value_heads: {shape.kv_heads} does not divide {shape.heads} heads")


def _expert_fields(config: Any, family: str) -> dict[str, Any]:
    if family != "qwen3_moe":
        return {}
    if config.decoder_sparse_step != 1 or config.mlp_only_layers:
        raise UserError("config.json decoder_sparse_step, mlp_only_layers: not supported; every layer needs experts")
    return {
        "experts": config.num_experts,
        "experts_per_token": config.num_experts_per_tok,
        "expert_ffn": config.moe_intermediate_size,
        "normalised_routing": bool(config.norm_topk_prob),
    }


def _refuse(config: Any, family: str) -> None:
    if config.hidden_act != "silu":
        raise UserError(f"config.json hidden_act {config.hidden_act!r}: not supported; only silu is")
    if family != "qwen2" and getattr(config, "attention_bias", False):
        raise UserError(f"config.json attention_bias: not supported for {family}; only false is")
    if getattr(config, "mlp_bias", False):
        raise UserError("config.json mlp_bias: not supported; only false is")
    if getattr(config, "use_sliding_window", False):
        raise UserError("config.json use_sliding_window: not supported; only false is")
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        raise UserError("config.json layer_types: not supported; only full_attention is")


def _rope_factor(rope: dict[str, Any]) -> float | None:
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise UserError("config.json rope partial_rotary_factor: not supported; only whole heads are rotated")
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return None
    if kind != "llama3":
        raise UserError(f"config.json rope_type {kind!r}: not supported; default and llama3 are")
    for key, expected in LLAMA3_ROPE.items():
        if rope.get(key) != expected:
            raise UserError(f"config.json rope {key} {rope.get(key)!r}: not supported; only {expected} is")
    return float(rope["factor"])
