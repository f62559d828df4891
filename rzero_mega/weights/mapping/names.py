"""From the parameter names of one rank's module to names that mean the same on every rank."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

from rzero_mega.weights.mapping.experts import BIAS

# Transformer Engine fuses a norm into the linear layer behind it; the local spec keeps it apart.
TRANSFORMER_ENGINE_ALIASES = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
    "self_attention.linear_q_up_proj.layer_norm_weight": "self_attention.q_layernorm.weight",
    "self_attention.linear_kv_up_proj.layer_norm_weight": "self_attention.kv_layernorm.weight",
}
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.*)")
_LOCAL_EXPERT = re.compile(r"mlp\.experts\.local_experts\.(\d+)\.(.*)")
# Transformer Engine's grouped linear layers hold the experts of a rank as weight0, weight1, ...
_GROUPED_EXPERT = re.compile(r"mlp\.experts\.(linear_fc[12])\.weight(\d+)")


def global_parameters(model: torch.nn.Module, first_expert: int = 0) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """(name, parameter) of a GPTModel, wrapped or not.

    Layers are counted over the pipeline and experts over expert parallelism (`first_expert` is the number of this
    rank's first one); the local spec and Transformer Engine's get the same names.
    """
    while hasattr(model, "module"):
        model = model.module  # type: ignore[assignment]
    first_layer = _first_layer(model)
    for name, parameter in model.named_parameters():
        yield _global_name(name, first_layer, first_expert), parameter


def global_buffers(model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of what belongs to a GPTModel's weights and isn't trained: the biases of routers."""
    while hasattr(model, "module"):
        model = model.module  # type: ignore[assignment]
    first_layer = _first_layer(model)
    for name, buffer in model.named_buffers():
        if name.endswith(BIAS):
            yield _global_name(name, first_layer, 0), buffer


def _global_name(name: str, first_layer: int, first_expert: int) -> str:
    match = _LAYER.fullmatch(name)
    if match is None:
        return name
    rest = _global_expert(TRANSFORMER_ENGINE_ALIASES.get(match[2], match[2]), first_expert)
    return f"decoder.layers.{int(match[1]) + first_layer}.{rest}"


def _global_expert(name: str, first_expert: int) -> str:
    if match := _LOCAL_EXPERT.fullmatch(name):
        return f"mlp.experts.local_experts.{int(match[1]) + first_expert}.{match[2]}"
    if match := _GROUPED_EXPERT.fullmatch(name):
        return f"mlp.experts.local_experts.{int(match[2]) + first_expert}.{match[1]}.weight"
    return name


def is_expert(name: str) -> bool:
    """Whether a parameter of this global name belongs to one expert, and so to expert parallelism."""
    return ".mlp.experts." in name


def _first_layer(model: torch.nn.Module) -> int:
    layers = model.decoder.layers  # type: ignore[union-attr]
    return int(layers[0].layer_number) - 1 if len(layers) else 0  # type: ignore[arg-type, index, union-attr]
