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
class Yarn:
    """Frequencies stretched beyond the positions of the first training (Peng et al., arXiv 2309.00071)."""

    factor: float
    original_positions: int
    beta_fast: float
    beta_slow: float
    mscale: float


@dataclass(frozen=True)
class LatentAttention:
    """Queries, keys and values out of smaller vectors (DeepSeek-V2, arXiv 2405.04434, section 2.1); sizes.

    Of each head `rotated` numbers are, and `unrotated` are not; keys share those that are.
    """

    q_rank: int
    kv_rank: int
    unrotated: int
    rotated: int
    value: int
    yarn: Yarn | None

    def sizes(self, heads: int) -> dict[str, int]:
        """Lengths of the dimensions that are its own, by their names in `ModelShape.size`."""
        return {
            "values": heads * self.value,
            "small_queries": self.q_rank,
            "small_keys": self.kv_rank + self.rotated,
            "kv_rank": self.kv_rank,
            "keys_values": heads * (self.unrotated + self.value),
        }


@dataclass(frozen=True)
class ModelShape:
    """A decoder: sizes, and the features in which the families differ.

    `rope_factor` is Llama 3's, or None; `rotated` is the share of each head that is rotated. `experts` is 0 for a dense
    model; otherwise every layer but the first `dense_layers` routes each token to `experts_per_token` of them, whose
    weights sum to one if `normalised_routing`, and to a shared MLP besides if `shared_ffn` is its width. With
    `biased_routing` scores are sigmoids, experts are chosen by score + bias, of the best `chosen_groups` of
    `expert_groups` alone, and what they give is multiplied by `routed_scale`. `scores` is 1 for a Critic, which has a
    head that makes one number of a hidden state, and 0 for every model that writes.
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
    rotated: float = 1.0
    dense_layers: int = 0
    shared_ffn: int = 0
    biased_routing: bool = False
    expert_groups: int = 1
    chosen_groups: int = 1
    routed_scale: float = 1.0
    latent: LatentAttention | None = None

    def has_experts(self, layer: int) -> bool:
        """Whether the layer, counted from 0, is a mixture of experts."""
        return self.experts > 0 and layer >= self.dense_layers

    @property
    def expert_layers(self) -> int:
        """How many layers are mixtures of experts."""
        return self.layers - self.dense_layers if self.experts else 0

    def size(self, dim: str) -> int:
        """Length of a dimension by its name in the mapping tables: a field, or a size that follows from several.

        `queries`, `keys` and `values` are of all heads; `small_queries` and `small_keys` what latent attention makes of
        a hidden state, `kv_rank` what it makes of that `keys_values` of all heads out of.
        """
        latent = self.latent.sizes(self.heads) if self.latent is not None else {}
        if dim in latent:
            return latent[dim]
        if dim == "values":
            return self.heads * self.head_dim
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
    latent = _latent(config, rope) if family == "deepseek_v3" else None
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // max(1, config.num_attention_heads)
    shape = ModelShape(
        family=family,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        ffn=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=head_dim if latent is None else latent.unrotated + latent.rotated,
        vocab=config.vocab_size,
        max_positions=config.max_position_embeddings,
        norm_epsilon=float(config.rms_norm_eps),
        rope_base=float(rope["rope_theta"]),
        rope_factor=_rope_factor(rope) if latent is None else None,
        tied=bool(config.tie_word_embeddings),
        qk_norm=family in ("qwen3", "qwen3_moe") or bool(getattr(config, "use_qk_norm", False)),
        latent=latent,
        qkv_bias=family == "qwen2" or (family == "glm4_moe" and bool(config.attention_bias)),
        rotated=_rotated(rope, family, head_dim),
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
        ("routed_scaling_factor", shape.routed_scale, 1e6),
    ):
        if not (isinstance(value, float) and 0.0 < value <= most):
            raise UserError(f"config.json {name}: {value!r} is no number above 0 and up to {most:g}")
    if shape.heads % shape.kv_heads:
        raise UserError(f"config.json num_key_value_heads: {shape.kv_heads} does not divide {shape.heads} heads")


def _expert_fields(config: Any, family: str) -> dict[str, Any]:
    if family in ("glm4_moe", "deepseek_v3"):
        return _biased_expert_fields(config)
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


def _latent(config: Any, rope: dict[str, Any]) -> LatentAttention:
    if not config.rope_interleave:
        raise UserError("config.json rope_interleave: not supported; only true is")
    if config.num_key_value_heads != config.num_attention_heads:
        raise UserError("config.json num_key_value_heads: not supported; only as many as num_attention_heads are")
    if config.q_lora_rank is None:
        # Megatron-core 0.19 would normalise the hidden state once more for queries that come out of it.
        raise UserError("config.json q_lora_rank null: not supported; only a rank is")
    if config.rms_norm_eps != 1e-6:
        # transformers' norms of latent vectors have this one whatever the key says.
        raise UserError(f"config.json rms_norm_eps {config.rms_norm_eps!r}: not supported; only 1e-06 is")
    sizes = (config.q_lora_rank, config.kv_lora_rank, config.qk_nope_head_dim, config.qk_rope_head_dim)
    return LatentAttention(*sizes, config.v_head_dim, _yarn(rope))


def _yarn(rope: dict[str, Any]) -> Yarn | None:
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return None
    if kind != "yarn":
        raise UserError(f"config.json rope_type {kind!r}: not supported; default and yarn are")
    mscale = rope.get("mscale_all_dim")
    if not mscale or rope.get("mscale") != mscale or rope.get("attention_factor") is not None:
        raise UserError("config.json rope mscale: not supported; only where mscale_all_dim is the same")
    return Yarn(
        float(rope["factor"]),
        int(rope["original_max_position_embeddings"]),
        float(rope.get("beta_fast") or 32),
        float(rope.get("beta_slow") or 1),
        float(mscale),
    )


def _biased_expert_fields(config: Any) -> dict[str, Any]:
    """Routing as in DeepSeek-V3, arXiv 2412.19437, section 2.1.2."""
    experts, chosen, dense = config.n_routed_experts, config.num_experts_per_tok, config.first_k_dense_replace
    groups, chosen_groups = config.n_group, config.topk_group
    if not config.norm_topk_prob or chosen < 2:
        # Megatron-core normalises the weights of several experts, and not that of a single one.
        raise UserError("config.json norm_topk_prob, num_experts_per_tok: not supported; only true with 2 or more is")
    if not 0 <= dense < config.num_hidden_layers:
        raise UserError(f"config.json first_k_dense_replace: {dense} leaves no layer with experts")
    if config.n_shared_experts < 1:
        raise UserError("config.json n_shared_experts: not supported; only 1 or more are")
    if not 1 <= chosen_groups <= groups or experts % groups:
        raise UserError(f"config.json n_group, topk_group: {chosen_groups} of {groups} groups of {experts} experts")
    if groups > 1 and (chosen != 2 * chosen_groups or experts // groups < 2):
        # A group is as good as its best two experts in these models, as its best num_experts_per_tok / topk_group ones
        # in Megatron-core.
        raise UserError(
            f"config.json topk_group: {chosen_groups} is not supported; num_experts_per_tok, {chosen}, must be twice it"
        )
    return {
        "experts": experts,
        "experts_per_token": chosen,
        "expert_ffn": config.moe_intermediate_size,
        "dense_layers": dense,
        "shared_ffn": config.n_shared_experts * config.moe_intermediate_size,
        "biased_routing": True,
        "expert_groups": groups,
        "chosen_groups": chosen_groups,
        "routed_scale": float(config.routed_scaling_factor),
    }


def _refuse(config: Any, family: str) -> None:
    if config.hidden_act != "silu":
        raise UserError(f"config.json hidden_act {config.hidden_act!r}: not supported; only silu is")
    if family not in ("qwen2", "glm4_moe") and getattr(config, "attention_bias", False):
        raise UserError(f"config.json attention_bias: not supported for {family}; only false is")
    if getattr(config, "mlp_bias", False):
        raise UserError("config.json mlp_bias: not supported; only false is")
    if getattr(config, "use_sliding_window", False):
        raise UserError("config.json use_sliding_window: not supported; only false is")
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        raise UserError("config.json layer_types: not supported; only full_attention is")


def _rope_factor(rope: dict[str, Any]) -> float | None:
    kind = rope.get("rope_type", "default")
    if kind == "default":
        return None
    if kind != "llama3":
        raise UserError(f"config.json rope_type {kind!r}: not supported; default and llama3 are")
    for key, expected in LLAMA3_ROPE.items():
        if rope.get(key) != expected:
            raise UserError(f"config.json rope {key} {rope.get(key)!r}: not supported; only {expected} is")
    return float(rope["factor"])


def _rotated(rope: dict[str, Any], family: str, head_dim: int) -> float:
    share = rope.get("partial_rotary_factor", 1.0)
    if share == 1.0:
        return 1.0
    if family != "glm4_moe" or rope.get("rope_type", "default") != "default":
        raise UserError("config.json rope partial_rotary_factor: not supported here; only whole heads are rotated")
    if not 0.0 < share < 1.0 or int(head_dim * share) < 2 or int(head_dim * share) % 2:
        raise UserError(
            f"config.json rope partial_rotary_factor {share!r}: leaves no pairs of a head's {head_dim} numbers"
        )
    return float(share)
