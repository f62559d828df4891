"""A model's config.json as an object of transformers, out of the keys that its family knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rzero_mega.errors import UserError, first_line
from rzero_mega.weights.families import SUPPORTED_MODEL_TYPES
from rzero_mega.weights.model_files import CONFIG, read_object

# Keys that are no fields of every family's class and mean something all the same.
_MORE_KEYS = {
    "model_type", "torch_dtype", "head_dim", "rope_theta", "rope_scaling", "layer_types", "attention_bias", "mlp_bias",
    "use_sliding_window", "partial_rotary_factor", "moe_layer_freq", "topk_method", "scoring_func",
}  # fmt: skip
# What transformers' DeepSeek-V3 does without a key for it, and SGLang asks for.
_ONLY = {"moe_layer_freq": 1, "topk_method": "noaux_tc", "scoring_func": "sigmoid"}
# What a model returns is the engine's business.
_CALLERS_KEYS = {"return_dict", "output_hidden_states", "is_encoder_decoder", "chunk_size_feed_forward"}
# Weights in another form than their dtype says. Names are those that transformers and SGLang look for.
_QUANTISED_KEYS = ("quantization_config", "compression_config", "hf_quant_config", "quantization")
_QUANTISED_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
# Least and most: no model comes near the latter, and nothing that is computed from them takes long.
_SIZES = {
    "num_hidden_layers": (1, 4096),
    "hidden_size": (1, 1 << 18),
    "intermediate_size": (1, 1 << 21),
    "moe_intermediate_size": (1, 1 << 21),
    "num_attention_heads": (1, 1 << 13),
    "num_key_value_heads": (1, 1 << 13),
    "head_dim": (1, 1 << 13),
    "vocab_size": (1, 1 << 24),
    "max_position_embeddings": (1, 1 << 31),
    "num_experts": (1, 1 << 13),
    "num_local_experts": (1, 1 << 13),
    "n_routed_experts": (1, 1 << 13),
    "n_shared_experts": (1, 1 << 13),
    "n_group": (1, 1 << 13),
    "topk_group": (1, 1 << 13),
    "first_k_dense_replace": (0, 4096),
    "num_nextn_predict_layers": (0, 4096),
    "num_experts_per_tok": (1, 1 << 13),
    "q_lora_rank": (1, 1 << 18),
    "kv_lora_rank": (1, 1 << 18),
    "qk_nope_head_dim": (1, 1 << 13),
    "qk_rope_head_dim": (1, 1 << 13),
    "v_head_dim": (1, 1 << 13),
    "sliding_window": (1, 1 << 31),
    "decoder_sparse_step": (1, 4096),
}
_MOST_EXPERTS_IN_ALL = 1 << 17
_MAY_BE_NULL = ("num_key_value_heads", "head_dim", "sliding_window", "num_nextn_predict_layers", "q_lora_rank")
_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")
MOST_STOP_TOKENS = 64


def read_config(folder: Path) -> Any:
    """The configuration of the model in `folder`, without the keys that its family does not know.

    A key such as `_attn_implementation`, which names a kernel on the hub, is thus never seen by transformers. UserError
    names the key that is wrong, or by which the model is another one than its tensors: quantised, or an adapter.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    raw = read_object(folder, CONFIG)
    try:
        family = _family(raw)
        _check_raw(raw)
        check_token_ids(raw, raw.get("vocab_size", CONFIG_MAPPING[family].vocab_size))
        config = CONFIG_MAPPING[family].from_dict(clean_config(raw))
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: {error}") from None
    except Exception as error:  # a class of transformers raises what its checks and its arithmetic raise
        raise UserError(f"{folder / CONFIG}: not readable as a model configuration: {first_line(error)}") from None
    for name in _QUANTISED_FILES:
        if (folder / name).exists():
            raise UserError(f"{folder / name}: a quantised model cannot be trained; take its unquantised version")
    if (folder / "adapter_config.json").exists():
        raise UserError(f"{folder / 'adapter_config.json'}: an adapter; merge it into its base model first")
    return config


def clean_config(raw: dict[str, Any]) -> dict[str, Any]:
    """The keys of a configuration that its family knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = raw.get("model_type")
    if family not in SUPPORTED_MODEL_TYPES:
        return without_code(raw)
    fields = {field.name for field in dataclasses.fields(CONFIG_MAPPING[family])}
    known = (fields | set(CONFIG_MAPPING[family].attribute_map.values()) | _MORE_KEYS) - _CALLERS_KEYS
    return {key: value for key, value in without_code(raw).items() if key in known}


def without_code(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without what names classes or kernels outside the libraries: `auto_map`, keys with `_`."""
    return {key: value for key, value in config.items() if key != "auto_map" and not key.startswith("_")}


def check_token_ids(config: Mapping[str, Any], vocab: int) -> None:
    """UserError names the key whose token is none of `vocab`; -1 may stand for no padding."""
    for key in _TOKENS:
        value = config.get(key)
        ids = value if isinstance(value, list) and key == "eos_token_id" else [] if value is None else [value]
        least = -1 if key == "pad_token_id" else 0
        if len(ids) > MOST_STOP_TOKENS:
            raise UserError(f"{key}: {len(ids)} tokens, at most {MOST_STOP_TOKENS} make sense")
        for token in ids:
            if type(token) is not int or not least <= token < vocab:
                raise UserError(f"{key}: {_short(token)} is none of the {vocab} tokens of the vocabulary")


def _family(raw: dict[str, Any]) -> str:
    family = raw.get("model_type")
    if not isinstance(family, str):
        raise UserError("model_type: missing; is this a model in Hugging Face format?")
    if family not in SUPPORTED_MODEL_TYPES:
        supported = ", ".join(SUPPORTED_MODEL_TYPES)
        raise UserError(f"model_type {family[:80]!r} is not supported; supported are {supported}")
    return family


def _check_raw(raw: dict[str, Any]) -> None:
    """What must be right before a class of transformers computes with it."""
    for key in _QUANTISED_KEYS:
        if raw.get(key) is not None:
            raise UserError(f"{key}: a quantised model cannot be trained; take its unquantised version")
    for key, (least, most) in _SIZES.items():
        value = raw.get(key, least)
        if value is None and key in _MAY_BE_NULL:
            continue
        if type(value) is not int or not least <= value <= most:
            raise UserError(f"{key}: {_short(value)} is no whole number from {least} to {most}")
    for key, only in _ONLY.items():
        if raw.get(key, only) != only:
            raise UserError(f"{key}: {_short(raw[key])} is not supported; only {only} is")
    named = {key: raw[key] for key in ("num_experts", "num_local_experts", "n_routed_experts") if key in raw}
    experts = list(named.values())
    if len(set(experts)) > 1:
        values = " and ".join(map(str, experts))
        raise UserError(f"{', '.join(named)}: {values}; they are names of one number")
    if raw.get("num_hidden_layers", 1) * max([1, *experts]) > _MOST_EXPERTS_IN_ALL:
        raise UserError(f"num_experts: more than {_MOST_EXPERTS_IN_ALL} experts in all layers")
    _check_architecture(raw)


def _check_architecture(raw: dict[str, Any]) -> None:
    """The learner goes by `model_type`, SGLang by `architectures`: they must mean the same."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    expected = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[raw["model_type"]]
    found = raw.get("architectures")
    if found is not None and found != [expected]:
        raise UserError(f"architectures: {_short(found)} is not supported; {raw['model_type']} has [{expected!r}]")


def _short(value: Any) -> str:
    if type(value) is int and value.bit_length() > 200:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
