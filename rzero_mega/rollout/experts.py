"""transformers stacks the experts of a layer in one tensor; checkpoints name the tensors of each expert."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

GATE_UP, DOWN = ".experts.gate_up_proj", ".experts.down_proj"


def checkpoint_views(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views into a module's parameters under the names of a checkpoint.

    `...experts.gate_up_proj` [e, 2 * f, h] becomes `...experts.3.gate_proj.weight` [f, h] and so on; every other name
    stays.
    """
    views: dict[str, Tensor] = {}
    for name, tensor in parameters.items():
        if name.endswith(GATE_UP):
            prefix, ffn = name.removesuffix("gate_up_proj"), tensor.size(1) // 2
            for expert in range(tensor.size(0)):
                views[f"{prefix}{expert}.gate_proj.weight"] = tensor[expert, :ffn]
                views[f"{prefix}{expert}.up_proj.weight"] = tensor[expert, ffn:]
        elif name.endswith(DOWN):
            prefix = name.removesuffix("down_proj")
            for expert in range(tensor.size(0)):
                views[f"{prefix}{expert}.down_proj.weight"] = tensor[expert]
        else:
            views[name] = tensor
    return views
