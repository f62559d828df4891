"""Log-probabilities and entropy from logits that are cut over the vocabulary."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Tokens whose fp32 logits exist at one time: 4,096 x 152k entries are 2.5 GB.
TOKENS_PER_CHUNK = 4096


class _VocabularyParallelLogProbs(torch.autograd.Function):
    """Forward and backward go over chunks of tokens, so that no fp32 copy of all logits exists."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, vocabulary: int, group: dist.ProcessGroup
    ) -> tuple[Tensor, Tensor]:
        first = group.rank() * logits.size(-1)
        real = max(0, min(vocabulary - first, logits.size(-1)))
        local, mine = _local_targets(targets, first, real)
        logprobs, entropy, normalizer = (torch.empty(len(targets), device=logits.device) for _ in range(3))
        for rows in _chunks(len(targets)):
            z = logits[rows, :real].float()
            lse, mean_logit = _logsumexp(z, group)
            target_logit = torch.where(mine[rows], z.gather(1, local[rows, None])[:, 0], 0.0)
            _sum(target_logit, group)
            logprobs[rows], entropy[rows], normalizer[rows] = target_logit - lse, lse - mean_logit, lse
        ctx.save_for_backward(logits, normalizer, local, mine)
        ctx.real = real
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """d logprob / d logit = [logit is the target] - softmax."""
        logits, normalizer, local, mine = ctx.saved_tensors
        grad = grads[0]
        out = torch.zeros_like(logits)
        for rows in _chunks(len(grad)):
            z = logits[rows, : ctx.real].float()
            g = (z - normalizer[rows, None]).exp_().mul_(-grad[rows, None])
            g.scatter_add_(1, local[rows, None], (grad[rows] * mine[rows])[:, None])
            out[rows, : ctx.real] = g.to(out.dtype)
        return out, None, None, None


def token_logprobs(logits: Tensor, targets: Tensor, vocabulary: int, group: dist.ProcessGroup) -> tuple[Tensor, Tensor]:
    """Log-probability of `targets` [t] and entropy of the distribution, both [t] in fp32, at temperature 1.

    `logits` [t, v / tp] are this rank's columns; columns at or past `vocabulary` are padding and have no probability.
    Only the log-probabilities carry gradients.
    """
    logprobs, entropy = _VocabularyParallelLogProbs.apply(logits, targets, vocabulary, group)  # type: ignore[no-untyped-call]
    return logprobs, entropy


def _chunks(t: int) -> list[slice]:
    return [slice(start, start + TOKENS_PER_CHUNK) for start in range(0, t, TOKENS_PER_CHUNK)]


def _local_targets(targets: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    local = targets - first
    mine = (local >= 0) & (local < real)
    return local.masked_fill(~mine, 0), mine


def _logsumexp(z: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, Tensor]:
    """log sum exp over all ranks' columns, and the mean logit under the distribution; [t] each."""
    top = z.amax(1) if z.size(1) else z.new_full((len(z),), -torch.inf)
    if group.size() > 1:
        dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
    weights = (z - top[:, None]).exp_()
    sums = torch.stack([weights.sum(1), (weights * z).sum(1)])
    _sum(sums, group)
    return top + sums[0].log(), sums[1] / sums[0]


def _sum(x: Tensor, group: dist.ProcessGroup) -> None:
    if group.size() > 1:
        dist.all_reduce(x, group=group)
