"""From the parameter names of one rank's module to names that mean the same on every rank."""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch

# Transformer Engine fuses a norm into the linear layer behind it; the local spec keeps it apart.
TRANSFORMER_ENGINE_ALIASES = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.*)")


def global_parameters(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """(name, parameter) of a GPTModel, wrapped or not; layers are counted over the pipeline, both specs share names."""
    while hasattr(model, "module"):
        model = model.module  # type: ignore[assignment]
    first_layer = _first_layer(model)
    for name, parameter in model.named_parameters():
        match = _LAYER.fullmatch(name)
        if match:
            rest = TRANSFORMER_ENGINE_ALIASES.get(match[2], match[2])
            name = f"decoder.layers.{int(match[1]) + first_layer}.{rest}"
        yield name, parameter


def _first_layer(model: torch.nn.Module) -> int:
    layers = model.decoder.layers  # type: ignore[union-attr]
    return int(layers[0].layer_number) - 1 if len(layers) else 0  # type: ignore[arg-type, index, union-attr]
