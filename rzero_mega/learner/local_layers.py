"""Modules of the local layer spec, for machines without Transformer Engine: RMSNorm, and attention on torch SDPA."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor


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
    and packed again: padding comes after a sequence's tokens, so causality alone keeps it out of every real row.
    """

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        **_unused: Any,
    ) -> None:
        super().__init__()
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
        """Attend query [t, n, d] to key and value [t, g, d] inside each packed sequence; returns [t, n * d]."""
        if packed_seq_params is None:
            raise ValueError("SdpaCoreAttention reads packed sequences only; pass packed_seq_params")
        batch, position = _rows(packed_seq_params.cu_seqlens_q, query.size(0))
        b, s = len(packed_seq_params.cu_seqlens_q) - 1, int(packed_seq_params.max_seqlen_q)
        q, k, v = (_unpack(x, batch, position, b, s) for x in (query, key, value))
        out = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=self.scale, enable_gqa=query.size(1) != key.size(1)
        )
        return out.transpose(1, 2)[batch, position].flatten(1)

    def sharded_state_dict(self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None) -> dict[str, Any]:
        """Nothing to save."""
        return {}


def _rows(cu_seqlens: Tensor, t: int) -> tuple[Tensor, Tensor]:
    """Sequence index [t] and position in its sequence [t] of every packed token."""
    lengths = cu_seqlens[1:] - cu_seqlens[:-1]
    batch = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths, output_size=t)
    return batch, torch.arange(t, device=lengths.device) - cu_seqlens[batch]


def _unpack(x: Tensor, batch: Tensor, position: Tensor, b: int, s: int) -> Tensor:
    """[t, n, d] to [b, n, s, d], zeros behind each sequence."""
    out = x.new_zeros(b, s, *x.shape[1:])
    return out.index_put((batch, position), x).transpose(1, 2)
