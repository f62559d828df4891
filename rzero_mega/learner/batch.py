"""What the learner trains on: sequences with their advantages, packed into micro-batches."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from rzero_mega.errors import UserError


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
    of the token in the loss of the whole update, zero outside responses.
    """

    indices: tuple[int, ...]
    tokens: Tensor  # [1, t]
    position_ids: Tensor  # [1, t]
    targets: Tensor  # [t]
    response: Tensor  # [t] bool
    weight: Tensor  # [t]
    advantage: Tensor  # [t]
    rollout_logprobs: Tensor  # [t]
    sequence_parameters: PackedSeqParams


def plan_packs(lengths: Sequence[int], token_budget: int, dp: int) -> list[list[list[int]]]:
    """Indices of the sequences of every micro-batch, by data-parallel rank: [dp][micro-batch][sequence].

    Longest first into the emptiest micro-batch, so that token counts are nearly equal. Every rank gets the same number
    of micro-batches; some are empty where there are fewer sequences than micro-batches. The plan depends on the
    arguments alone. UserError if a single sequence exceeds the budget.
    """
    longest = max(lengths, default=0)
    if longest > token_budget:
        raise UserError(
            f"learner.tokens_per_micro_batch: a sequence of {longest} tokens exceeds the budget of {token_budget}"
        )
    per_rank = max(1, -(-sum(lengths) // (token_budget * dp)))
    while True:
        packs = _fill(lengths, token_budget, per_rank * dp)
        if packs is not None:
            return [packs[rank::dp] for rank in range(dp)]
        per_rank += 1


def _fill(lengths: Sequence[int], token_budget: int, count: int) -> list[list[int]] | None:
    packs: list[list[int]] = [[] for _ in range(count)]
    heap = [(0, pack) for pack in range(count)]
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        used, pack = heapq.heappop(heap)
        if used + lengths[index] > token_budget:
            return None
        packs[pack].append(index)
        heapq.heappush(heap, (used + lengths[index], pack))
    return [sorted(pack) for pack in packs]


def build_pack(
    sequences: Sequence[TrainingSequence],
    weights: Sequence[float],
    indices: Sequence[int],
    multiple_of: int,
    device: torch.device,
) -> Pack:
    """Lay the sequences with the given indices end to end.

    `weights[i]` is the loss weight of every response token of sequence i. The length is filled up to `multiple_of`
    (sequence parallelism cuts t over its ranks) with a padding sequence of its own, which carries no weight; a
    micro-batch without sequences consists of it alone.
    """
    chosen = [sequences[i] for i in indices]
    total = sum(s.length for s in chosen)
    padding = -total % multiple_of if total else max(2, multiple_of)
    lengths = [s.length for s in chosen] + ([padding] if padding else [])
    tokens = list(chain.from_iterable((*s.prompt, *s.response) for s in chosen)) + [0] * padding
    response, weight, advantage, logprobs = _token_columns(chosen, [weights[i] for i in indices], padding)
    starts = [0, *accumulate(lengths)]
    cu_seqlens = torch.tensor(starts, dtype=torch.int32, device=device)
    flat = torch.tensor(tokens, device=device)
    positions = torch.cat([torch.arange(n, device=device) for n in lengths])
    return Pack(
        indices=tuple(indices),
        tokens=flat[None],
        position_ids=positions[None],
        # The last position of every sequence predicts the first token of the next: it carries no weight.
        targets=flat.roll(-1),
        response=torch.tensor(response, device=device),
        weight=torch.tensor(weight, dtype=torch.float32, device=device),
        advantage=torch.tensor(advantage, dtype=torch.float32, device=device),
        rollout_logprobs=torch.tensor(logprobs, dtype=torch.float32, device=device),
        sequence_parameters=PackedSeqParams(
            qkv_format="thd",
            cu_seqlens_q=cu_seqlens,
            cu_seqlens_kv=cu_seqlens,
            max_seqlen_q=max(lengths),
            max_seqlen_kv=max(lengths),
        ),
    )


def _token_columns(
    chosen: Sequence[TrainingSequence], weights: Sequence[float], padding: int
) -> tuple[list[bool], list[float], list[float], list[float]]:
    """Per position: is the next token of the response, its loss weight, its advantage, its rollout log-probability."""
    response: list[bool] = []
    weight: list[float] = []
    advantage: list[float] = []
    logprobs: list[float] = []
    for sequence, w in zip(chosen, weights, strict=True):
        before, n = len(sequence.prompt) - 1, len(sequence.response)
        response += [False] * before + [True] * n + [False]
        weight += [0.0] * before + [w if sequence.train else 0.0] * n + [0.0]
        advantage += [0.0] * before + [sequence.advantage] * n + [0.0]
        logprobs += [0.0] * before + list(sequence.rollout_logprobs) + [0.0]
    return response + [False] * padding, *(column + [0.0] * padding for column in (weight, advantage, logprobs))  # type: ignore[return-value]
