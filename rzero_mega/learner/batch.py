"""What the learner trains on: sequences with their advantages, and the micro-batches that they are packed into."""

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

    Or an example that somebody has `written`, which has neither: zeros that its loss does not look at.

    A sequence that does not `train` keeps its place in the batch's normalisation and contributes no loss.
    """

    prompt: Sequence[int]
    response: Sequence[int]
    rollout_logprobs: Sequence[float]
    advantage: float
    train: bool = True

    @classmethod
    def written(cls, prompt: Sequence[int], completion: Sequence[int]) -> TrainingSequence:
        """An example for supervised fine-tuning."""
        return cls(prompt, completion, (0.0,) * len(completion), 0.0)

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class MicroBatch:
    """Sequences laid end to end, t tokens in all (format THD), on the learner's device.

    Position i predicts `targets[i]`; `response_mask[i]` says whether that target is a response token, and
    `loss_weight[i]` its share in the loss of the whole update, zero outside responses. `indices` are the places of the
    sequences in the update. Under context parallelism a rank holds its part of every sequence, t tokens in all, and
    `packed_seq_params` describe the whole sequences.
    """

    indices: tuple[int, ...]
    tokens: Tensor  # [1, t] int64
    segment_ids: Tensor  # [t] int64: of each token's sequence, its place in `indices`; behind them a padding sequence
    position_ids: Tensor  # [1, t] int64: in the token's sequence
    targets: Tensor  # [t] int64
    response_mask: Tensor  # [t] bool
    rows: Tensor  # [n] int64: where it is set
    loss_weight: Tensor  # [t] fp32
    advantages: Tensor  # [t] fp32
    rollout_logprobs: Tensor  # [t] fp32
    packed_seq_params: PackedSeqParams


@dataclass(frozen=True)
class LocalUpdate:
    """This rank's micro-batches of one optimizer update, and the log-probabilities that their loss compares with.

    `old_logprobs`, `reference_logprobs` and `base_logprobs` hold a tensor [t] in fp32 per micro-batch. They are None as
    `TokenInputs` says, and on every pipeline stage but the last, which alone reads them. `temperature` is that of all
    log-probabilities of the update: the one that its rollouts were drawn at.
    """

    micro_batches: list[MicroBatch]
    old_logprobs: list[Tensor] | None = None
    reference_logprobs: list[Tensor] | None = None
    temperature: float = 1.0
    base_logprobs: list[Tensor] | None = None

    def split(self, sizes: Iterable[int]) -> list[LocalUpdate]:
        """The first `sizes[0]` micro-batches, the next `sizes[1]`, and so on."""
        found, start = [], 0
        for size in sizes:
            here = slice(start, start + size)
            old, reference, base = (
                None if logprobs is None else logprobs[here]
                for logprobs in (self.old_logprobs, self.reference_logprobs, self.base_logprobs)
            )
            found.append(LocalUpdate(self.micro_batches[here], old, reference, self.temperature, base))
            start = here.stop
        return found


def build_micro_batch(
    sequences: Sequence[TrainingSequence],
    loss_weights: Sequence[float],
    indices: Sequence[int],
    split: TokenSplit,
    device: torch.device,
) -> MicroBatch:
    """Lay the sequences with the given indices end to end, and keep this rank's part of them.

    `loss_weights[i]` is the loss weight of every response token of sequence i. Lengths are filled up to the multiples
    that `split` asks for with tokens without weight: behind each sequence, where causality keeps them out, and behind
    all with a sequence of their own. A micro-batch without sequences consists of that alone.
    """
    columns = [_columns(sequences[i], loss_weights[i], split.sequence_multiple) for i in indices]
    total = sum(len(column.tokens) for column in columns)
    padding = -total % split.total_multiple if total else max(2, split.total_multiple)
    if padding:
        columns.append(_columns(None, 0.0, padding))
    lengths = [len(column.tokens) for column in columns]
    cu_seqlens = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
    segment_ids, position = zigzag(cu_seqlens, split.cp, split.cp_rank)
    mine = cu_seqlens[segment_ids] + position

    def part(values: Iterable[Sequence[float]], dtype: torch.dtype) -> Tensor:
        return torch.tensor(list(chain.from_iterable(values)), dtype=dtype, device=device)[mine]

    response_mask = part((c.response_mask for c in columns), torch.bool)
    return MicroBatch(
        indices=tuple(indices),
        tokens=part((c.tokens for c in columns), torch.long)[None],
        segment_ids=segment_ids,
        position_ids=position[None],
        targets=part((c.targets for c in columns), torch.long),
        response_mask=response_mask,
        rows=response_mask.nonzero()[:, 0],
        loss_weight=part((c.loss_weight for c in columns), torch.float32),
        advantages=part((c.advantages for c in columns), torch.float32),
        rollout_logprobs=part((c.rollout_logprobs for c in columns), torch.float32),
        packed_seq_params=PackedSeqParams(
            qkv_format="thd",
            cu_seqlens_q=cu_seqlens,
            cu_seqlens_kv=cu_seqlens,
            max_seqlen_q=max(lengths),
            max_seqlen_kv=max(lengths),
        ),
    )


@dataclass(frozen=True)
class _Columns:
    """One sequence, position by position; see MicroBatch."""

    tokens: Sequence[int]
    targets: Sequence[int]
    response_mask: Sequence[bool]
    loss_weight: Sequence[float]
    advantages: Sequence[float]
    rollout_logprobs: Sequence[float]


def _columns(sequence: TrainingSequence | None, loss_weight: float, multiple_of: int) -> _Columns:
    """The sequence filled up to a multiple; without one, `multiple_of` tokens of padding."""
    if sequence is None:
        nothing = [0] * multiple_of
        return _Columns(nothing, nothing, [False] * multiple_of, nothing, nothing, nothing)
    before, n = len(sequence.prompt) - 1, len(sequence.response)
    after = 1 + -sequence.length % multiple_of
    tokens = [*sequence.prompt, *sequence.response, *[0] * (after - 1)]
    return _Columns(
        tokens=tokens,
        # The last token of a sequence predicts nothing that is there: its target has no weight.
        targets=[*tokens[1:], 0],
        response_mask=[False] * before + [True] * n + [False] * after,
        loss_weight=[0.0] * before + [loss_weight if sequence.train else 0.0] * n + [0.0] * after,
        advantages=[0.0] * before + [sequence.advantage] * n + [0.0] * after,
        rollout_logprobs=[0.0] * before + list(sequence.rollout_logprobs) + [0.0] * after,
    )
