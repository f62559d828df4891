"""GSPO: one probability ratio per sequence, the geometric mean of its tokens' (arXiv 2507.18071)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class SequenceMap:
    """Which sequence each response token [n] on this rank belongs to; the ranks of `group` share the sequences.

    `ids` are ascending and below `count`, which is at least 1.
    """

    ids: Tensor
    count: int
    group: dist.ProcessGroup

    @torch.no_grad()
    def means(self, column: Tensor) -> Tensor:
        """For every token [n] the mean of `column` [n] over its whole sequence. All ranks of the group take part."""
        lengths = torch.bincount(self.ids, minlength=self.count)
        # Over runs of tokens, in their order: index_add would add them in any order on a GPU.
        sums = torch.segment_reduce(column, "sum", lengths=lengths)
        totals = torch.stack([sums, lengths.to(sums.dtype)])
        if self.group.size() > 1:
            dist.all_reduce(totals, group=self.group)
        means: Tensor = (totals[0] / totals[1].clamp(min=1.0))[self.ids]
        return means


def sequence_log_ratio(log_ratio: Tensor, means: Tensor) -> Tensor:
    """log s_t [n] of the paper's GSPO-token: the value is the sequence's, `means`, and the gradient the token's own.

    With weights of 1 / length it adds up to GSPO's gradient, for grad s = s / length * sum_t grad logprobs_t.
    """
    return means + (log_ratio - log_ratio.detach())
