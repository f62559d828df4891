"""Megatron's latent attention, with the rotated key's gradient summed over all heads."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.tensor_parallel.mappings import (
    gather_from_tensor_model_parallel_region,
    scatter_to_sequence_parallel_region,
)
from megatron.core.transformer.multi_latent_attention import MLASelfAttention
from torch import Tensor


class LatentSelfAttention(MLASelfAttention):
    """Megatron's layer, of which tensor-parallel ranks together compute the gradients that one rank computes.

    The heads of all ranks share the rotated part of a key. Where the projection is cut into columns, as it is here,
    Megatron-core (0.16.1, 0.19.2) leaves that part's gradient at what one rank's heads give. Rows that are whole, and
    of a share of the sequence, take its other way, which sums. Sequences must be parallel, as experts ask for anyway.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.config.tensor_model_parallel_size > 1:
            self.linear_kv_down_proj.register_forward_hook(_whole_rows)


def _whole_rows(
    _module: torch.nn.Module, _inputs: tuple[Tensor, ...], outputs: tuple[Tensor, Tensor | None]
) -> tuple[Tensor, Tensor | None]:
    """Of [s, b, width / tp] the [s / tp, b, width]."""
    columns, bias = outputs
    return scatter_to_sequence_parallel_region(gather_from_tensor_model_parallel_region(columns)), bias
