from __future__ import annotations

from itertools import accumulate, chain

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.enums import AttnMaskType
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.megatron.layers import SdpaCoreAttention, like_lengths
from rzero_mega.learner.megatron.model import transformer_config
from rzero_mega.weights.shape import shape_of


@pytest.fixture(scope="module")
def attention(alone: ParallelLayout) -> SdpaCoreAttention:
    from transformers import AutoConfig

    shape = shape_of(AutoConfig.for_model("qwen3", num_attention_heads=4, num_key_value_heads=2, head_dim=8))
    config = transformer_config(shape, alone, LearnerConfig(dtype="float32"))
    return SdpaCoreAttention(config, 1, AttnMaskType.causal, "self")


def causally(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of one sequence [s, n, d], written out; returns [s, n * d]."""
    key, value = (x.repeat_interleave(query.size(1) // x.size(1), 1) for x in (key, value))
    scores = torch.einsum("snd,tnd->nst", query, key) / query.size(2) ** 0.5
    hidden = torch.ones(scores.shape[1:]).triu(1).bool()
    return torch.einsum("nst,tnd->snd", F.softmax(scores.masked_fill(hidden, -torch.inf), -1), value).flatten(1)


@pytest.mark.parametrize("lengths", [[1], [5, 5, 5], [3, 40, 1, 17, 38, 4, 2], list(range(1, 20))])
def test_each_packed_sequence_attends_to_itself_alone(attention: SdpaCoreAttention, lengths: list[int]) -> None:
    torch.manual_seed(0)
    bounds, longest = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32), max(lengths)
    q, k, v = (torch.randn(sum(lengths), n, 8, requires_grad=True) for n in (4, 2, 2))
    packed = PackedSeqParams(
        qkv_format="thd", cu_seqlens_q=bounds, cu_seqlens_kv=bounds, max_seqlen_q=longest, max_seqlen_kv=longest
    )
    ours = attention(q, k, v, packed_seq_params=packed)
    expected = torch.cat([causally(*part) for part in zip(*(x.split(lengths) for x in (q, k, v)), strict=True)])
    torch.testing.assert_close(ours, expected)
    upstream = torch.randn_like(ours)
    for mine, other in zip(*(torch.autograd.grad(out, (q, k, v), upstream) for out in (ours, expected)), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@given(st.lists(st.integers(1, 500), max_size=50))
def test_sequences_attended_together_are_of_like_length(lengths: list[int]) -> None:
    groups = like_lengths(lengths)
    assert sorted(chain.from_iterable(groups)) == list(range(len(lengths)))
    for group in groups:
        assert lengths[group[0]] == max(lengths[i] for i in group)
        assert 4 * min(lengths[i] for i in group) >= 3 * lengths[group[0]]
    assert len(groups) <= 25  # 500 * 0.75^22 < 1
