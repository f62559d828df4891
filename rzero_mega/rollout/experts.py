"""transformers stacks the experts of a layer in one tensor; checkpoints name the tensors of each expert."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rzero_mega.weights.bucket import Bucket, Slot
from rzero_mega.weights.hf_folder import split_experts


def checkpoint_views(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views into a module's contiguous parameters under the names of a checkpoint.

    `...experts.gate_up_proj` [e, 2 * f, h] becomes `...experts.3.gate_proj.weight` [f, h] and so on; every other name
    stays.
    """
    views: dict[str, Tensor] = {}
    for name, tensor in parameters.items():
        slots = split_experts(Slot(name, tensor.dtype, tuple(tensor.shape), 0))
        views.update(Bucket(tensor.view(-1).view(torch.uint8), tuple(slots)).tensors())
    return views
