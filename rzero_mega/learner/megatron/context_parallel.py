"""How context parallelism cuts packed sequences over ranks.

Each sequence is cut into 2 cp pieces of equal length; rank r has piece r and piece 2 cp - 1 - r, so that under a causal
mask every rank has the same work (Transformer Engine and Megatron-core cut the same way).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenSplit:
    """Over how many ranks the tokens of a micro-batch are cut, and which part is this rank's.

    Context parallelism cuts every sequence over `cp` ranks, sequence parallelism what a rank then has of all of them
    over `sequence_parallel_ranks`. Matrix products want a multiple of `token_multiple` tokens on each (FP8).
    """

    cp: int = 1
    cp_rank: int = 0
    sequence_parallel_ranks: int = 1
    token_multiple: int = 1

    @property
    def sequence_multiple(self) -> int:
        """What the length of every sequence must be a multiple of."""
        return 1 if self.cp == 1 else 2 * self.cp

    @property
    def total_multiple(self) -> int:
        """What the number of all tokens must be a multiple of."""
        return math.lcm(self.sequence_multiple, self.cp * self.sequence_parallel_ranks * self.token_multiple)


def zigzag(cu_seqlens: Tensor, cp: int, rank: int) -> tuple[Tensor, Tensor]:
    """Which tokens a rank has: number of their sequence and position in it, [t] int64 each, t tokens on this rank.

    `cu_seqlens` [b + 1] are the bounds of the whole sequences, whose lengths 2 cp divides (any length where cp is 1).
    """
    bounds = cu_seqlens.long()
    lengths, here = (bounds[1:] - bounds[:-1]) // cp, bounds // cp
    t = int(here[-1])
    sequence = torch.repeat_interleave(torch.arange(len(lengths), device=bounds.device), lengths, output_size=t)
    offset = torch.arange(t, device=bounds.device) - here[sequence]
    if cp == 1:
        return sequence, offset
    piece = lengths[sequence] // 2
    second = offset >= piece
    return sequence, torch.where(second, (2 * cp - 2 - rank) * piece, rank * piece) + offset
