"""Modules of the local layer spec, for machines without Transformer Engine: RMSNorm, and attention on torch SDPA."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from rzero_mega.learner.context_parallel import zigzag


class RMSNorm(torch.nn.RMSNorm):
    """RMSNorm computed in fp32 (as Hugging Face's models do), with the mark that sequence parallelism needs."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-6, **_unused: Any) -> None:
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        # Megatron all-reduces the gradients of parameters so marked over the tensor-parallel group.
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension of x [..., h]."""
        if x.dtype == torch.float32:
            return super().forward(x)
        return F.rms_norm(x.float(), self.normalized_shape, None, self.eps).to(x.dtype) * self.weight


class SdpaCoreAttention(torch.nn.Module):
    """Causal attention over packed sequences with torch's scaled_dot_product_attention.

    The packed tokens [t, n, d] are laid out as [b, n, s, d] with s the longest sequence, attended causally in one call
    and packed again: padding comes after a sequence's tokens, so causality alone keeps it out of every real row. Under
    context parallelism a rank's queries attend to the keys and values of all ranks, which are gathered first.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        pg_collection: Any = None,
        **_unused: Any,
    ) -> None:
        super().__init__()
        self.cp_group = parallel_state.get_context_parallel_group() if pg_collection is None else pg_collection.cp
        if attn_mask_type not in (AttnMaskType.causal, AttnMaskType.padding_causal):
            raise ValueError(f"SdpaCoreAttention is causal; got {attn_mask_type}")
        self.scale = softmax_scale or 1.0 / math.sqrt(config.kv_channels or 1)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: PackedSeqParams | None = None,
    ) -> Tensor:
        """Attend query [t, n, d] to key and value [t, g, d] inside each packed sequence; returns [t, n * d].

        Under context parallelism t is what this rank has of them.
        """
        if packed_seq_params is None:
            raise ValueError("SdpaCoreAttention reads packed sequences only; pass packed_seq_params")
        cu_seqlens, b = packed_seq_params.cu_seqlens_q, len(packed_seq_params.cu_seqlens_q) - 1
        s, grouped, cp = int(packed_seq_params.max_seqlen_q), query.size(1) != key.size(1), self.cp_group.size()
        if cp == 1:
            sequence, position = zigzag(cu_seqlens, 1, 0)
            q, k, v = (_unpack(x, sequence, position, b, s) for x in (query, key, value))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale, enable_gqa=grouped)
            return out.transpose(1, 2)[sequence, position].flatten(1)
        every = [zigzag(cu_seqlens, cp, rank) for rank in range(cp)]
        key_sequence, key_position = (torch.cat(part) for part in zip(*every, strict=True))
        k, v = (
            _unpack(gather_from_sequence_parallel_region(x, group=self.cp_group), key_sequence, key_position, b, s)
            for x in (key, value)
        )
        sequence, position = every[self.cp_group.rank()]
        row = torch.arange(len(sequence), device=query.device) - (cu_seqlens.long() // cp)[sequence]
        q = _unpack(query, sequence, row, b, s // cp)
        last_seen = position.new_zeros(b, s // cp).index_put((sequence, row), position)
        mask = torch.arange(s, device=query.device) <= last_seen[:, None, :, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale, enable_gqa=grouped)
        return out.transpose(1, 2)[sequence, row].flatten(1)

    def sharded_state_dict(self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None) -> dict[str, Any]:
        """Nothing to save."""
        return {}


def _unpack(x: Tensor, sequence: Tensor, row: Tensor, b: int, s: int) -> Tensor:
    """[t, n, d] to [b, n, s, d], zeros behind each sequence."""
    out = x.new_zeros(b, s, *x.shape[1:])
    return out.index_put((sequence, row), x).transpose(1, 2)
