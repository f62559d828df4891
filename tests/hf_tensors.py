"""Tensors of transformers' models under the names that checkpoints give them."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def own_tensors(model: Any) -> dict[str, Tensor]:
    """What a checkpoint of a transformers model holds: its parameters, each once, and its routers' biases."""
    biases = {name: buffer for name, buffer in model.named_buffers() if name.endswith("e_score_correction_bias")}
    return split_experts(dict(model.named_parameters()) | biases)


def split_experts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Experts one by one, as checkpoints hold them; transformers' module stacks them."""
    split: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith("experts.gate_up_proj"):
            for expert, (gate, up) in enumerate(both.chunk(2) for both in tensor):
                prefix = name.replace("gate_up_proj", str(expert))
                split |= {f"{prefix}.gate_proj.weight": gate, f"{prefix}.up_proj.weight": up}
        elif name.endswith("experts.down_proj"):
            for expert, down in enumerate(tensor):
                split[f"{name.replace('down_proj', str(expert))}.down_proj.weight"] = down
        else:
            split[name] = tensor
    return split
