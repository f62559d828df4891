"""What the learner trains on: sequences with their advantages, laid out in micro-batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from rzero_mega.learner.megatron.context_parallel import TokenSplit, zigzag


@dataclass(frozen=True)
class TrainingSequence:
    """One rollout: prompt and response tokens, the rollout engine's log-probability per response token, its advantage.

    A sequence that does not `train` keeps its place in the batch's normalisation and contributes no loss.
    """

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    rollout_logprobs: tuple[float, ...]
    advantage: float
    train: bool = True

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class Pack:
    """One micro-batch: sequences laid end to end, t tokens in all (format THD).

    Position i predicts `targets[i]`; `response[i]` says whether that target is a response token. `weight` is the share
    of the token in the loss of the whole update, zero outside responses. Under context parallelism a rank holds its
    part of every sequence, t tokens in all, and `sequence_parameters` describe the whole sequences.
    """

    indices: tuple[int, ...]
    tokens: Tensor  # [1, t]
    sequence: Tensor  # [t], place in `indices`; behind them a padding sequence
    position_ids: Tensor  # [1, t]
    targets: Tensor  # [t]
    response: Tensor  # [t] bool
    weight: Tensor  # [t]
    advantage: Tensor  # [t]
    rollout_logprobs: Tensor  # [t]
    sequence_parameters: PackedSeqParams


def build_pack(
    sequences: Sequence[TrainingSequence],
    weights: Sequence[float],
    indices: Sequence[int],
    split: TokenSplit,
    device: torch.device,
) -> Pack:
    """Lay the sequences with the given indices end to end, and keep this rank's part of them.

    `weights[i]` is the loss weight of every response token of sequence i. What `split` asks of lengths is filled up
    with tokens without weight: behind each sequence, where causality keeps them out, and behind all with a sequence of
    their own. A micro-batch without sequences consists of that alone.
    """
    columns = [_columns(sequences[i], weights[i], split.sequence_multiple) for i in indices]
    total = sum(len(column.tokens) for column in columns)
    padding = -total % split.total_multiple if total else max(2, split.total_multiple)
    if padding:
        columns.append(_columns(None, 0.0, padding))
    lengths = [len(column.tokens) for column in columns]
    cu_seqlens = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    sequence, position = zigzag(cu_seqlens, split.cp, split.cp_rank)
    mine = cu_seqlens[sequence] + position

    def part(values: Iterable[Sequence[float]], dtype: torch.dtype) -> Tensor:
        return torch.tensor(list(chain.from_iterable(values)), dtype=dtype, device=device)[mine]

    return Pack(
        indices=tuple(indices),
        tokens=part((c.tokens for c in columns), torch.long)[None],
        sequence=sequence,
        position_ids=position[None],
        targets=part((c.targets for c in columns), torch.long),
        response=part((c.response for c in columns), torch.bool),
        weight=part((c.weight for c in columns), torch.float32),
        advantage=part((c.advantage for c in columns), torch.float32),
        rollout_logprobs=part((c.rollout_logprobs for c in columns), torch.float32),
        sequence_parameters=PackedSeqParams(
            qkv_format="thd",
            cu_seqlens_q=cu_seqlens,
            cu_seqlens_kv=cu_seqlens,
            max_seqlen_q=max(lengths),
            max_seqlen_kv=max(lengths),
        ),
    )


@dataclass(frozen=True)
class _Columns:
    """One sequence, position by position; see Pack."""

    tokens: Sequence[int]
    targets: Sequence[int]
    response: Sequence[bool]
    weight: Sequence[float]
    advantage: Sequence[float]
    rollout_logprobs: Sequence[float]


def _columns(sequence: TrainingSequence | None, weight: float, multiple_of: int) -> _Columns:
    """The sequence filled up to a multiple; without one, `multiple_of` tokens of padding."""
    if sequence is None:
        nothing = [0] * multiple_of
        return _Columns(nothing, nothing, [False] * multiple_of, nothing, nothing, nothing)
    before, n = len(sequence.prompt) - 1, len(sequence.response)
    after = 1 + -sequence.length % multiple_of
    tokens = [*sequence.prompt, *sequence.response, *[0] * (after - 1)]
    return _Columns(
        tokens=tokens,
        # What the last token predicts is nobody's: it carries no weight.
        targets=[*tokens[1:], 0],
        response=[False] * before + [True] * n + [False] * after,
        weight=[0.0] * before + [weight if sequence.train else 0.0] * n + [0.0] * after,
        advantage=[0.0] * before + [sequence.advantage] * n + [0.0] * after,
        rollout_logprobs=[0.0] * before + list(sequence.rollout_logprobs) + [0.0] * after,
    )
