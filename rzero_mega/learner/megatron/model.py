"""A GPTModel from the Hugging Face configuration of a base model, wrapped for data parallelism."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.fp8_utils import dequantize_fp8_tensor, is_float8tensor
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.transformer.transformer_config import MLATransformerConfig, TransformerConfig
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig, LoraConfig
from rzero_mega.learner.megatron.compat import calls_megatron
from rzero_mega.learner.megatron.fp8 import check_fp8, fp8_settings
from rzero_mega.learner.megatron.lora import (
    Adapter,
    AddedWeights,
    adapters_of,
    attach_adapters,
    begin_adapters,
)
from rzero_mega.learner.megatron.policy_model import PolicyModel
from rzero_mega.learner.megatron.process_groups import transformer_settings
from rzero_mega.learner.megatron.spec import LayerSpec, layer_spec, norms_apart
from rzero_mega.learner.megatron.switches import Kernels, accumulate_in_layers, switches
from rzero_mega.planning.layout_rules import check_learner
from rzero_mega.weights.hf_folder import HfWeights, dtype_named
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.mapping.dense import SCORE
from rzero_mega.weights.mapping.names import global_buffers, global_parameters, is_expert
from rzero_mega.weights.scatter import scatter_hf
from rzero_mega.weights.shape import ModelShape

RECOMPUTE: dict[str, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective"},
    "full": {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1},
}


@dataclass(frozen=True)
class Model:
    """One rank's part of the model: its wrapped chunks, their configuration, and its parameters by global name.

    A rank has one chunk, or with an interleaved pipeline (`vpp`) that many, from the first layers to the last. With
    `adapters`, by the names of the parameters that they are added to, these alone train, as `lora` says. `kept` are
    weights that no gradient comes to and that stay as they are, the biases of routers, in fp32.
    """

    shape: ModelShape
    config: TransformerConfig
    chunks: list[DistributedDataParallel]
    parameters: dict[str, torch.nn.Parameter]
    kept: dict[str, Tensor]
    lora: LoraConfig
    adapters: dict[str, Adapter]
    fused_kernels: bool

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """What has gradients on this rank."""
        if not self.adapters:
            return self.parameters
        layers = {name.removesuffix(".weight"): adapter for name, adapter in self.adapters.items()}
        return {f"{layer}.lora.{name}": p for layer, one in layers.items() for name, p in one.named_parameters()}

    @property
    def buffers(self) -> list[Any]:
        """Megatron's buffers of parameters and gradients, those of experts too."""
        return [buffer for chunk in self.chunks for buffer in (*chunk.buffers, *chunk.expert_parallel_buffers)]

    def local_weights(self) -> Mapping[str, Tensor]:
        """This rank's shards of the policy by Megatron name; copies where they train in FP8 or have adapters."""
        held = self.held_weights()
        return AddedWeights(held, self.adapters) if self.adapters else held

    def held_weights(self) -> dict[str, Tensor]:
        """`local_weights` without what adapters add."""
        return {name: _plain(parameter.data) for name, parameter in self.parameters.items()} | self.kept

    @torch.no_grad()
    def copy_in(self, weights: Mapping[str, Tensor]) -> None:
        """Overwrite shards of this rank's with `weights`, by the names of `held_weights`."""
        for name, weight in weights.items():
            (self.kept[name] if name in self.kept else self.parameters[name].data).copy_(weight)


def _plain(weight: Tensor) -> Tensor:
    # Transformer Engine's FP8 parameters are tensors of a class of its own.
    return dequantize_fp8_tensor(weight) if is_float8tensor(weight) else weight


@calls_megatron
def build_model(
    shape: ModelShape,
    layout: ParallelLayout,
    learner: LearnerConfig,
    spec: LayerSpec = layer_spec,
    frozen: bool = False,
) -> Model:
    """Allocate this rank's part of the model; weights are whatever memory holds until `load_weights`.

    `spec` says which modules its layers are built of; anything but the default is for comparisons. A `frozen` model has
    no gradients, nor memory for them. UserError names the key of a layout or an FP8 recipe that does not suit the model
    or this machine.
    """
    check_learner(shape, layout, learner.lora)
    check_fp8(learner.fp8, shape, layout, learner.dtype)
    config = transformer_config(shape, layout, learner)
    stages: list[int | None] = [None] if layout.vpp == 1 else list(range(layout.vpp))
    ddp = DistributedDataParallelConfig(
        use_distributed_optimizer=True,
        grad_reduce_in_fp32=True,
        overlap_grad_reduce=learner.overlap_gradient_reduction,
        # Weights are exported after a step's last update: their gathering has no forward pass to hide behind.
        overlap_param_gather=False,
        fp8_param_gather=learner.fp8.parameters,
    )
    adapt = None if learner.lora.rank is None else partial(attach_adapters, lora=learner.lora, config=config)
    specs = [spec(config, stage) for stage in stages]
    if adapt is not None:
        specs = [norms_apart(one) for one in specs]
    change = _freeze if frozen else adapt
    chunks = [_build_chunk(shape, config, ddp, one, at, change) for one, at in zip(specs, stages, strict=True)]
    if change is None and learner.fused_kernels and torch.cuda.is_available():
        accumulate_in_layers(chunks)
    if learner.overlap_gradient_reduction:
        # Micro-batches but the last accumulate; the schedules leave this context for the last.
        config.no_sync_func = [chunk.no_sync for chunk in chunks] if len(chunks) > 1 else chunks[0].no_sync
    first_expert = parallel_state.get_expert_model_parallel_rank() * (shape.experts // layout.ep)
    parameters = {name: p for chunk in chunks for name, p in global_parameters(chunk, first_expert)}
    adapters = {name: one for chunk in chunks for name, one in adapters_of(chunk).items()}
    own = {id(p) for adapter in adapters.values() for p in adapter.parameters()}
    parameters = {name: p for name, p in parameters.items() if id(p) not in own}
    kept = {name: buffer for chunk in chunks for name, buffer in global_buffers(chunk)}
    for buffer in kept.values():
        buffer.data = buffer.data.float()  # half precision was for the whole module
    return Model(shape, config, chunks, parameters, kept, learner.lora, adapters, learner.fused_kernels)


def _freeze(model: torch.nn.Module) -> None:
    model.requires_grad_(False)


def _build_chunk(
    shape: ModelShape,
    config: TransformerConfig,
    ddp: DistributedDataParallelConfig,
    spec: ModuleSpec | TransformerBlockSubmodules,
    vp_stage: int | None,
    change: Callable[[torch.nn.Module], None] | None,
) -> DistributedDataParallel:
    policy = build_gpt(shape, config, spec, vp_stage)
    if shape.scores:
        policy.add_head()
    gpt: torch.nn.Module = policy
    if change is not None:
        change(gpt)
    if torch.cuda.is_available():
        gpt.cuda(torch.cuda.current_device())
    if config.params_dtype != torch.float32:
        gpt = Float16Module(config, gpt)
    return DistributedDataParallel(config, ddp, gpt)


def build_gpt(
    shape: ModelShape,
    config: TransformerConfig,
    spec: ModuleSpec | TransformerBlockSubmodules,
    vp_stage: int | None = None,
) -> PolicyModel:
    """The bare module of this pipeline stage, or of its chunk `vp_stage`, with the layers of `spec`."""
    return PolicyModel(
        config=config,
        transformer_layer_spec=spec,
        vocab_size=shape.vocab + -shape.vocab % config.tensor_model_parallel_size,
        max_sequence_length=shape.max_positions,
        position_embedding_type="rope",
        rotary_base=shape.rope_base,
        rotary_percent=shape.rotated,
        rope_scaling=shape.rope_factor is not None,
        rope_scaling_factor=shape.rope_factor or 1.0,
        share_embeddings_and_output_weights=shape.tied,
        pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=vp_stage),
        post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=vp_stage),
        parallel_output=True,
        vp_stage=vp_stage,
    )


def load_weights(model: Model, folder: Path, adapter_seed: int = 0) -> None:
    """Fill the model from a folder in Hugging Face format. An optimizer must be built afterwards: it copies them.

    Adapters, if it has them, begin with numbers that the seed names, and add nothing. The head of a Critic is zero
    where the folder has none: there is the base model.
    """
    # These are the weights themselves, but for FP8 parameters: of those they are copies, filled and copied back.
    local = model.held_weights()
    _fill(local, model.shape, folder)
    tp = parallel_state.get_tensor_model_parallel_world_size()
    begin_adapters(model.adapters, adapter_seed, tp, parallel_state.get_tensor_model_parallel_rank())
    for name, parameter in model.parameters.items():
        if is_float8tensor(parameter.data):
            with torch.no_grad():
                parameter.data.copy_(local[name])
            # The optimizer's fp32 weights begin with this and not with what FP8 leaves of it.
            parameter._high_precision_init_val = local[name].cpu()  # type: ignore[attr-defined]


def read_shards(model: Model, folder: Path) -> dict[str, Tensor]:
    """This rank's shards of another model of the same shape, as `Model.held_weights` has them, in host memory."""
    shards = {name: torch.empty_like(weight, device="cpu") for name, weight in model.held_weights().items()}
    _fill(shards, model.shape, folder)
    return shards


def _fill(local: Mapping[str, Tensor], shape: ModelShape, folder: Path) -> None:
    with HfWeights(folder) as weights:
        has_head = SCORE in weights.names()

        def read(name: str) -> Tensor:
            return weights.tensor(name) if name != SCORE or has_head else torch.zeros(shape.scores, shape.hidden)

        scatter_hf(entries(shape), read, local, shape, tensor_shard)


def tensor_shard(name: str) -> tuple[int, int]:
    """(index, count): which tensor-parallel shard of a parameter this rank holds; experts have groups of their own."""
    if is_expert(name):
        return (
            parallel_state.get_expert_tensor_parallel_rank(),
            parallel_state.get_expert_tensor_parallel_world_size(),
        )
    return parallel_state.get_tensor_model_parallel_rank(), parallel_state.get_tensor_model_parallel_world_size()


def transformer_config(shape: ModelShape, layout: ParallelLayout, learner: LearnerConfig) -> TransformerConfig:
    """Megatron's configuration of the model."""
    dtype = dtype_named(learner.dtype)
    on_cuda = torch.cuda.is_available()
    kind = TransformerConfig if shape.latent is None else MLATransformerConfig
    return kind(
        num_layers=shape.layers,
        hidden_size=shape.hidden,
        ffn_hidden_size=shape.ffn,
        num_attention_heads=shape.heads,
        num_query_groups=shape.kv_heads,
        kv_channels=shape.head_dim,
        normalization="RMSNorm",
        layernorm_epsilon=shape.norm_epsilon,
        add_bias_linear=False,
        add_qkv_bias=shape.qkv_bias,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        qk_layernorm=shape.qk_norm or shape.latent is not None,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        attention_softmax_in_fp32=True,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        use_cpu_initialization=not on_cuda,
        # Initialisation also marks which parameters are cut over tensor parallelism; unmarked ones count once per rank
        # group in the gradient norm.
        perform_initialization=True,
        **switches(shape, learner, on_cuda, Kernels.installed()).settings(),
        deterministic_mode=learner.deterministic,
        **_latent_settings(shape),
        variable_seq_lengths=True,
        # An interleaved pipeline whose point-to-point transfers are batched mixes its chunks' tensors up on gloo.
        batch_p2p_comm=False,
        overlap_p2p_comm=layout.vpp > 1,
        moe_token_dispatcher_type="alltoall",  # the only one that variable_seq_lengths goes with
        **_expert_settings(shape),
        # Every token's weight already holds the normalisation, so DDP must sum gradients and not average them.
        calculate_per_token_loss=True,
        **transformer_settings(layout),
        **RECOMPUTE[learner.recompute],
        **fp8_settings(learner.fp8),
    )


def _latent_settings(shape: ModelShape) -> dict[str, Any]:
    """Latent attention, whose rotation is its own."""
    latent = shape.latent
    if latent is None:
        return {}
    settings = {
        "q_lora_rank": latent.q_rank,
        "kv_lora_rank": latent.kv_rank,
        "qk_head_dim": latent.unrotated,
        "qk_pos_emb_head_dim": latent.rotated,
        "v_head_dim": latent.value,
        "rotary_base": shape.rope_base,
    }
    if latent.yarn is None:
        return settings | {"rope_type": "rope", "rotary_scaling_factor": 1.0}
    yarn = latent.yarn
    return settings | {
        "rope_type": "yarn",
        "rotary_scaling_factor": yarn.factor,
        "original_max_position_embeddings": yarn.original_positions,
        "beta_fast": yarn.beta_fast,
        "beta_slow": yarn.beta_slow,
        "mscale": yarn.mscale,
        "mscale_all_dim": yarn.mscale,
    }


def _expert_settings(shape: ModelShape) -> dict[str, Any]:
    """Routing as Hugging Face's models do it; no load-balancing loss, which GRPO's objective does not have."""
    if not shape.experts:
        return {}
    settings: dict[str, Any] = {
        "num_moe_experts": shape.experts,
        "moe_ffn_hidden_size": shape.expert_ffn,
        "moe_router_topk": shape.experts_per_token,
        # Softmax over the chosen ones equals softmax over all, then division by the sum of the chosen.
        "moe_router_pre_softmax": not shape.normalised_routing,
        "moe_router_load_balancing_type": "none",
        "moe_aux_loss_coeff": 0.0,
        "moe_router_dtype": "fp32",
        "moe_grouped_gemm": torch.cuda.is_available(),
    }
    if shape.dense_layers:
        settings["moe_layer_freq"] = [int(shape.has_experts(layer)) for layer in range(shape.layers)]
    if shape.shared_ffn:
        settings["moe_shared_expert_intermediate_size"] = shape.shared_ffn
    if shape.biased_routing:
        settings |= {
            "moe_router_score_function": "sigmoid",
            "moe_router_enable_expert_bias": True,
            # Megatron-core would move it after each update, by how many tokens the experts had.
            "moe_router_bias_update_rate": 0.0,
            "moe_router_topk_scaling_factor": shape.routed_scale,
        }
    if shape.expert_groups > 1:
        settings |= {"moe_router_num_groups": shape.expert_groups, "moe_router_group_topk": shape.chosen_groups}
    return settings
