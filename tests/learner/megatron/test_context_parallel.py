"""How context parallelism cuts packed sequences."""

from __future__ import annotations

from itertools import accumulate

import torch
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.learner.batch import TrainingSequence, build_micro_batch
from rzero_mega.learner.megatron.context_parallel import TokenSplit, zigzag

CPU = torch.device("cpu")


def bounds(lengths: list[int]) -> torch.Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)


def test_two_sequences_over_two_ranks_by_hand() -> None:
    sequence, position = zigzag(bounds([8, 4]), 2, 0)
    assert sequence.tolist() == [0, 0, 0, 0, 1, 1]
    assert position.tolist() == [0, 1, 6, 7, 0, 3]
    assert zigzag(bounds([8, 4]), 2, 1)[1].tolist() == [2, 3, 4, 5, 1, 2]


@given(cp=st.integers(1, 5), pieces=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_every_token_is_on_one_rank_and_the_ranks_have_the_same_causal_work(cp: int, pieces: list[int]) -> None:
    lengths = [2 * cp * piece for piece in pieces]
    places, work = [], []
    for rank in range(cp):
        sequence, position = zigzag(bounds(lengths), cp, rank)
        places += list(zip(sequence.tolist(), position.tolist(), strict=True))
        work.append(int(position.sum()))
    assert sorted(places) == [(n, i) for n, length in enumerate(lengths) for i in range(length)]
    assert len(set(work)) == 1


@given(
    cp=st.integers(1, 4),
    tp=st.integers(1, 4),
    spans=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=5),
)
def test_the_ranks_parts_of_a_micro_batch_hold_every_response_token_once(
    cp: int, tp: int, spans: list[tuple[int, int]]
) -> None:
    batch = [
        TrainingSequence(tuple(range(p)), tuple(100 * n + i for i in range(r)), (-0.5,) * r, float(n))
        for n, (p, r) in enumerate(spans)
    ]
    parts = [
        build_micro_batch(batch, [1.0] * len(batch), range(len(batch)), TokenSplit(cp, r, tp), CPU) for r in range(cp)
    ]
    assert len({part.tokens.size(1) for part in parts}) == 1
    assert parts[0].tokens.size(1) % tp == 0
    found = sorted(
        (number, position, target)
        for part in parts
        for number, position, target in zip(
            *(x[part.response_mask].tolist() for x in (part.segment_ids, part.position_ids[0], part.targets)),
            strict=True,
        )
    )
    expected = [(n, p - 1 + i, 100 * n + i) for n, (p, r) in enumerate(spans) for i in range(r)]
    assert found == expected
