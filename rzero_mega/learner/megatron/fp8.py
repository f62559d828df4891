"""Transformer Engine's FP8 recipes: as Megatron-core names them, and what hardware and shapes they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import Fp8Config
from rzero_mega.errors import UserError
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class Requirements:
    """What a recipe asks for: the GPU's compute capability, and a divisor of every side of a matrix product."""

    capability: tuple[int, int]
    multiple: int


# Transformer Engine's documentation, "Using FP8 with Transformer Engine": scaling per tensor from Ada on, in blocks of
# 128 from Hopper on, microscaling in blocks of 32 from Blackwell on.
REQUIREMENTS = {
    "delayed": Requirements((8, 9), 16),
    "tensorwise": Requirements((8, 9), 16),
    "blockwise": Requirements((9, 0), 128),
    "mxfp8": Requirements((10, 0), 32),
}


def token_multiple(fp8: Fp8Config) -> int:
    """What the number of tokens in a rank's matrix products must be a multiple of; 1 without FP8."""
    return 1 if fp8.format == "none" else REQUIREMENTS[fp8.recipe].multiple


def fp8_settings(fp8: Fp8Config) -> dict[str, Any]:
    """The recipe as TransformerConfig names it; nothing for `format: none`."""
    if fp8.format == "none":
        return {}
    return {
        "fp8": fp8.format,
        "fp8_recipe": fp8.recipe,
        "fp8_param": fp8.parameters,
        "fp8_margin": fp8.margin,
        "fp8_amax_history_len": fp8.amax_history_length,
        "fp8_amax_compute_algo": fp8.amax_algorithm,
        "fp8_wgrad": fp8.weight_gradient,
        "first_last_layers_bf16": fp8.first_last_layers_bf16,
    }


def check_fp8(fp8: Fp8Config, shape: ModelShape, layout: ParallelLayout, dtype: str) -> None:
    """UserError names the key if this machine or this model cannot train with the recipe."""
    if fp8.format == "none":
        return
    if not torch.cuda.is_available():
        raise UserError(
            f"learner.fp8.format: {fp8.format} needs an FP8-capable GPU and Transformer Engine; set it to none"
        )
    check_recipe(fp8, shape, layout, dtype, torch.cuda.get_device_capability())


def check_recipe(
    fp8: Fp8Config, shape: ModelShape, layout: ParallelLayout, dtype: str, capability: tuple[int, int]
) -> None:
    """UserError names the key if GPUs of this compute capability or the sizes of this model rule the recipe out."""
    needs = REQUIREMENTS[fp8.recipe]
    if capability < needs.capability:
        wanted, found = ("{}.{}".format(*version) for version in (needs.capability, capability))
        raise UserError(
            f"learner.fp8.recipe: {fp8.recipe} needs a GPU of compute capability {wanted}, this one has {found}; "
            "choose another recipe or learner.fp8.format=none"
        )
    if dtype != "bfloat16":
        raise UserError(f"learner.fp8.format: {fp8.format} needs learner.dtype bfloat16, not {dtype}")
    if fp8.first_last_layers_bf16 and fp8.recipe == "delayed":
        # Its scales are reduced when the one context of all layers is left.
        raise UserError(
            "learner.fp8.first_last_layers_bf16: not with the recipe delayed; choose another learner.fp8.recipe"
        )
    for what, size in _sides(shape, layout).items():
        if size % needs.multiple:
            raise UserError(
                f"learner.fp8.recipe: {fp8.recipe} needs sizes that {needs.multiple} divides, but {what} is {size}; "
                "choose another recipe, or less learner.layout.tp or etp"
            )


def _sides(shape: ModelShape, layout: ParallelLayout) -> dict[str, int]:
    """Input and output sizes of the linear layers on one rank, by their names in messages."""
    sides = {"the hidden size": shape.hidden, **_attention_sides(shape, layout.tp)}
    if shape.experts:
        sides["the experts' ffn per expert-tensor-parallel rank"] = shape.expert_ffn // layout.etp
    if shape.shared_ffn:
        sides["the shared experts' ffn per tensor-parallel rank"] = shape.shared_ffn // layout.tp
    if shape.expert_layers < shape.layers:
        sides["ffn per tensor-parallel rank"] = shape.ffn // layout.tp
    return sides


def _attention_sides(shape: ModelShape, tp: int) -> dict[str, int]:
    sides = {"the width of attention per tensor-parallel rank": shape.size("values") // tp}
    if shape.latent is None:
        heads = shape.heads + 2 * max(shape.kv_heads, tp)
        return sides | {"the width of queries, keys and values per tensor-parallel rank": heads * shape.head_dim // tp}
    return sides | {
        "the width of queries per tensor-parallel rank": shape.size("queries") // tp,
        "the width of keys and values per tensor-parallel rank": shape.size("keys_values") // tp,
        "latent queries per tensor-parallel rank": shape.size("small_queries") // tp,
        "latent keys per tensor-parallel rank": shape.size("small_keys") // tp,
        "the rank of latent queries": shape.latent.q_rank,
        "the rank of latent keys": shape.latent.kv_rank,
    }
