"""Which modules a transformer layer is built of: Transformer Engine's on CUDA, Megatron's local ones elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from megatron.core.models.gpt import gpt_layer_specs
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset

from rzero_mega.errors import UserError
from rzero_mega.learner.megatron.latent_attention import LatentSelfAttention
from rzero_mega.learner.megatron.switches import check_recompute

LayerSpec = Callable[[TransformerConfig, int | None], ModuleSpec | TransformerBlockSubmodules]


def layer_spec(config: TransformerConfig, vp_stage: int | None = None) -> ModuleSpec | TransformerBlockSubmodules:
    """Spec for GPTModel's `transformer_layer_spec`; `vp_stage` is the chunk of an interleaved pipeline.

    UserError if there is a GPU and no Transformer Engine, or a way to recompute that saves nothing with it.
    """
    return _transformer_engine_spec(config, vp_stage) if torch.cuda.is_available() else local_spec(config, vp_stage)


def _stage_experts(config: TransformerConfig, vp_stage: int | None) -> list[bool]:
    """Of every layer of this pipeline stage, or of its chunk: whether it is a mixture of experts."""
    every = [config.num_moe_experts is not None] * config.num_layers
    if isinstance(config.moe_layer_freq, list):
        every = [bool(experts) for experts in config.moe_layer_freq]
    first = get_transformer_layer_offset(config, vp_stage=vp_stage)
    return every[first : first + get_num_layers_to_build(config, vp_stage=vp_stage)]


def _transformer_engine_spec(
    config: TransformerConfig, vp_stage: int | None
) -> ModuleSpec | TransformerBlockSubmodules:
    if not gpt_layer_specs.HAVE_TE:
        raise UserError(
            "a learner on a GPU needs Transformer Engine, which is not installed or cannot be imported: "
            '`pip install "rzero_mega[gpu]"`'
        )
    if config.params_dtype != torch.float32:
        check_recompute(config.recompute_granularity)
    if isinstance(config.moe_layer_freq, list):
        from megatron.core.extensions.transformer_engine import TENorm

        layers = [_transformer_engine_layer(config, experts) for experts in _stage_experts(config, vp_stage)]
        return TransformerBlockSubmodules(layer_specs=layers, layer_norm=TENorm)
    return _transformer_engine_layer(config, config.num_moe_experts is not None)


def _transformer_engine_layer(config: TransformerConfig, experts: bool) -> ModuleSpec:
    spec: ModuleSpec = gpt_layer_specs.get_gpt_layer_with_transformer_engine_spec(
        num_experts=config.num_moe_experts if experts else None,
        moe_grouped_gemm=config.moe_grouped_gemm,
        qk_layernorm=config.qk_layernorm,
        multi_latent_attention=config.multi_latent_attention,
    )
    if config.params_dtype == torch.float32:
        from rzero_mega.learner.megatron.layers import SdpaCoreAttention

        # Transformer Engine's attention takes packed sequences in 16 bits only.
        spec.submodules.self_attention.submodules.core_attention = SdpaCoreAttention
    if config.multi_latent_attention:
        from megatron.core.extensions.transformer_engine import TEColumnParallelLinear

        # As without Transformer Engine; Megatron's own spec keeps these whole on every rank.
        attention = spec.submodules.self_attention
        attention.module = LatentSelfAttention
        attention.submodules.linear_q_down_proj = attention.submodules.linear_kv_down_proj = TEColumnParallelLinear
    return spec


def norms_apart(spec: ModuleSpec | TransformerBlockSubmodules) -> ModuleSpec | TransformerBlockSubmodules:
    """The spec of a dense model without norms fused with the linear layer behind them, whose input nobody else sees.

    Adapters take that input. Local modules are that already.
    """
    if isinstance(spec, TransformerBlockSubmodules):
        return spec
    from megatron.core.extensions.transformer_engine import TEColumnParallelLinear, TENorm

    layer = spec.submodules
    layer.input_layernorm = layer.pre_mlp_layernorm = TENorm
    layer.self_attention.submodules.linear_qkv = layer.mlp.submodules.linear_fc1 = TEColumnParallelLinear
    return spec


def local_spec(config: TransformerConfig, vp_stage: int | None = None) -> TransformerBlockSubmodules:
    """Spec of Megatron's own modules, with RMSNorm and attention that run anywhere, on GPUs too."""
    from rzero_mega.learner.megatron.layers import RMSNorm

    layers = [_local_layer(config, experts) for experts in _stage_experts(config, vp_stage)]
    return TransformerBlockSubmodules(layer_specs=layers, layer_norm=RMSNorm)


def _local_layer(config: TransformerConfig, experts: bool) -> ModuleSpec:
    from rzero_mega.learner.megatron.layers import RMSNorm, SdpaCoreAttention

    layer: ModuleSpec = gpt_layer_specs.get_gpt_layer_local_spec(
        num_experts=config.num_moe_experts if experts else None,
        qk_layernorm=config.qk_layernorm,
        multi_latent_attention=config.multi_latent_attention,
        normalization="RMSNorm",
    )
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    attention = layer.submodules.self_attention.submodules
    attention.core_attention = SdpaCoreAttention
    if config.multi_latent_attention:
        layer.submodules.self_attention.module = LatentSelfAttention
        attention.q_layernorm = attention.kv_layernorm = RMSNorm
        # The norms that Transformer Engine fuses here, under its names.
        layer.submodules.sharded_state_dict_keys_map = {
            "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
            "self_attention.q_layernorm.": "self_attention.linear_q_up_proj.layer_norm_",
            "self_attention.kv_layernorm.": "self_attention.linear_kv_up_proj.layer_norm_",
        }
    elif config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    if experts:
        # In checkpoints the local modules bear Transformer Engine's names. It fuses this norm with the layer behind it
        # in a dense MLP only; before experts the norm stands alone, under its own name.
        layer.submodules.sharded_state_dict_keys_map.pop("pre_mlp_layernorm.", None)
    return layer
