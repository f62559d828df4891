from __future__ import annotations

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.learner.batch import TrainingSequence, build_micro_batch
from rzero_mega.learner.megatron.context_parallel import TokenSplit

CPU = torch.device("cpu")

SEQUENCES = [
    TrainingSequence((11, 12, 13), (14, 15), (-0.1, -0.2), advantage=2.0),
    TrainingSequence((21,), (22, 23, 24), (-0.3, -0.4, -0.5), advantage=-1.0),
    TrainingSequence((31, 32), (33,), (-0.6,), advantage=3.0, train=False),
]


def test_a_micro_batch_laid_out_by_hand() -> None:
    built = build_micro_batch(SEQUENCES, [0.25, 0.5, 0.125], [0, 1, 2], TokenSplit(), CPU)
    nan = 0  # the target behind a sequence's end carries no weight; what it is does not matter
    assert built.indices == (0, 1, 2)
    assert built.tokens.tolist() == [[11, 12, 13, 14, 15, 21, 22, 23, 24, 31, 32, 33]]
    assert built.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]]
    ends = [4, 8, 11]
    targets = [12, 13, 14, 15, nan, 22, 23, 24, nan, 32, 33, nan]
    assert [t for i, t in enumerate(built.targets.tolist()) if i not in ends] == [
        t for i, t in enumerate(targets) if i not in ends
    ]
    t, f = True, False
    assert built.response_mask.tolist() == [f, f, t, t, f, t, t, t, f, f, t, f]
    assert built.rows.tolist() == [2, 3, 5, 6, 7, 10]
    # The third does not train.
    assert built.loss_weight.tolist() == [0, 0, 0.25, 0.25, 0, 0.5, 0.5, 0.5, 0, 0, 0, 0]
    assert built.advantages.tolist() == [0, 0, 2, 2, 0, -1, -1, -1, 0, 0, 3, 0]
    expected = [0, 0, -0.1, -0.2, 0, -0.3, -0.4, -0.5, 0, 0, -0.6, 0]
    assert built.rollout_logprobs.tolist() == pytest.approx(expected)
    assert built.packed_seq_params.qkv_format == "thd"
    assert built.packed_seq_params.cu_seqlens_q.tolist() == [0, 5, 9, 12]
    assert built.packed_seq_params.cu_seqlens_kv.tolist() == [0, 5, 9, 12]
    assert built.packed_seq_params.max_seqlen_q == 5
    assert built.targets.max() <= 33 and built.targets.min() >= 0


def test_indices_choose_sequences_and_their_weights() -> None:
    built = build_micro_batch(SEQUENCES, [0.25, 0.5, 0.125], [1], TokenSplit(), CPU)
    assert built.tokens.tolist() == [[21, 22, 23, 24]]
    assert built.loss_weight.tolist() == [0.5, 0.5, 0.5, 0]


@st.composite
def batches(draw: st.DrawFn) -> list[TrainingSequence]:
    tokens = st.integers(0, 99)
    found = []
    for _ in range(draw(st.integers(0, 6))):
        prompt = draw(st.lists(tokens, min_size=1, max_size=9))
        response = draw(st.lists(tokens, min_size=1, max_size=9))
        logprobs = tuple(-0.5 - i for i in range(len(response)))
        advantage = draw(st.sampled_from([-1.0, 0.5, 2.0]))
        found.append(TrainingSequence(tuple(prompt), tuple(response), logprobs, advantage, draw(st.booleans())))
    return found


@given(batches(), st.integers(1, 8))
def test_response_positions_predict_the_response_tokens_in_order(batch: list[TrainingSequence], multiple: int) -> None:
    weights = [0.5 + i for i in range(len(batch))]
    built = build_micro_batch(
        batch, weights, list(range(len(batch))), TokenSplit(sequence_parallel_ranks=multiple), CPU
    )
    chosen = built.response_mask
    assert built.targets[chosen].tolist() == list(chain.from_iterable(s.response for s in batch))
    assert built.rollout_logprobs[chosen].tolist() == list(chain.from_iterable(s.rollout_logprobs for s in batch))
    per_token = [(w if s.train else 0.0, s.advantage) for s, w in zip(batch, weights, strict=True) for _ in s.response]
    assert list(zip(built.loss_weight[chosen].tolist(), built.advantages[chosen].tolist(), strict=True)) == per_token
    assert not built.loss_weight[~chosen].any()


@given(batches(), st.integers(1, 8))
def test_the_length_is_filled_up_with_a_sequence_that_carries_nothing(
    batch: list[TrainingSequence], multiple: int
) -> None:
    built = build_micro_batch(
        batch, [1.0] * len(batch), list(range(len(batch))), TokenSplit(sequence_parallel_ranks=multiple), CPU
    )
    real = sum(s.length for s in batch)
    length = built.tokens.size(1)
    assert length % multiple == 0
    assert length - real < multiple or not batch
    assert length > 0
    assert not built.response_mask[real:].any()
    assert not built.loss_weight[real:].any()
    bounds = built.packed_seq_params.cu_seqlens_q.tolist()
    assert bounds[-1] == length
    assert bounds[: len(batch) + 1] == [sum(s.length for s in batch[:i]) for i in range(len(batch) + 1)]
    columns = (
        built.targets,
        built.response_mask,
        built.loss_weight,
        built.advantages,
        built.rollout_logprobs,
        built.position_ids[0],
    )
    assert {len(column) for column in columns} == {length}


@pytest.mark.parametrize("multiple", [1, 2, 4])
def test_a_micro_batch_without_sequences_is_padding_alone(multiple: int) -> None:
    built = build_micro_batch(SEQUENCES, [1.0] * 3, [], TokenSplit(sequence_parallel_ranks=multiple), CPU)
    assert built.indices == ()
    assert built.tokens.size(1) % multiple == 0
    assert not built.response_mask.any() and not built.loss_weight.any()
