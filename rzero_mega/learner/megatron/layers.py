"""Modules of the local layer spec, for machines without Transformer Engine: RMSNorm, and attention on torch SDPA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from rzero_mega.learner.megatron.context_parallel import zigzag


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

    The packed tokens [t, n, d] are laid out as [b, n, s, d] with s the longest sequence, attended causally and packed
    again: padding comes after a sequence's tokens, so causality alone keeps it out of every real row. Sequences of like
    length are attended together, or padding would cost more than tokens. Under context parallelism all go in one call,
    and a rank's queries attend to the keys and values of all ranks, which are gathered first.
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
            return self._by_length(query, key, value, cu_seqlens)
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

    def _by_length(self, query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor) -> Tensor:
        """Whole sequences, those of like length in one call; returns [t, n * d]."""
        sequence, position = zigzag(cu_seqlens, 1, 0)
        grouped, lengths = query.size(1) != key.size(1), cu_seqlens.diff().tolist()
        attended, order = [], []
        for members in like_lengths(lengths):
            row_of = sequence.new_full((len(lengths),), -1)
            row_of[members] = torch.arange(len(members), device=sequence.device)
            tokens = (row_of[sequence] >= 0).nonzero()[:, 0]
            row, place = row_of[sequence[tokens]], position[tokens]
            q, k, v = (_unpack(x[tokens], row, place, len(members), lengths[members[0]]) for x in (query, key, value))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale, enable_gqa=grouped)
            attended.append(out.transpose(1, 2)[row, place].flatten(1))
            order.append(tokens)
        return torch.cat(attended)[torch.cat(order).argsort()]

    def sharded_state_dict(self, prefix: str = "", sharded_offsets: Any = (), metadata: Any = None) -> dict[str, Any]:
        """No parameters, so nothing to save."""
        return {}


def like_lengths(lengths: Sequence[int]) -> list[list[int]]:
    """Numbers of the sequences, longest first, in groups whose shortest has three quarters of the longest's tokens."""
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not groups or 4 * lengths[number] < 3 * lengths[groups[-1][0]]:
            groups.append([])
        groups[-1].append(number)
    return groups


def _unpack(x: Tensor, sequence: Tensor, row: Tensor, b: int, s: int) -> Tensor:
    """[t, n, d] to [b, n, s, d], zeros behind each sequence."""
    out = x.new_zeros(b, s, *x.shape[1:])
    return out.index_put((sequence, row), x).transpose(1, 2)
