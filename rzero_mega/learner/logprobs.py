"""Log-probabilities and entropy straight from hidden states: the logits of all tokens never exist at one time.

The output layer is inside: over chunks of tokens, logits are computed, reduced and dropped, and computed once more in
the backward pass. A whole [t, v] of 16k tokens and 152k words takes 10 GB in fp32, its gradient as much again; the
second computation of the output layer costs 3 % of a step of an 8B model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Logits that exist at one time: 2^27 in fp32 are 0.5 GB. Fewer would make the matrix products too thin for a GPU.
ENTRIES_PER_CHUNK = 1 << 27


class _HiddenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        vocabulary: int,
        group: dist.ProcessGroup,
        temperature: float,
    ) -> tuple[Tensor, Tensor]:
        first = group.rank() * weight.size(0)
        real = max(0, min(vocabulary - first, weight.size(0)))
        local, mine = _local_targets(targets, first, real)
        logprobs, entropy, normalizer = (torch.empty(len(targets), device=hidden.device) for _ in range(3))
        for rows in _chunks(len(targets), weight.size(0)):
            z = _logits(hidden[rows], weight[:real], temperature)
            target_logit = torch.where(mine[rows], z.gather(1, local[rows, None])[:, 0], 0.0) if real else 0 * z.sum(1)
            lse, mean_logit = _logsumexp(z, group)
            _sum(target_logit, group)
            logprobs[rows], entropy[rows], normalizer[rows] = target_logit - lse, lse - mean_logit, lse
        ctx.save_for_backward(hidden, weight, normalizer, local, mine)
        ctx.real, ctx.temperature = real, temperature
        ctx.mark_non_differentiable(entropy)
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        """d logprob / d logit = ([logit is the target] - softmax) / temperature; from there as in a linear layer."""
        hidden, weight, normalizer, local, mine = ctx.saved_tensors
        grad, used = grads[0], weight[: ctx.real]
        upstream = grad if ctx.temperature == 1.0 else grad / ctx.temperature
        grad_hidden = torch.zeros_like(hidden)
        # In fp32 whatever the weights' type: it is summed over the chunks.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        for rows in _chunks(len(grad), weight.size(0)) if ctx.real else ():
            g = (
                _logits(hidden[rows], used, ctx.temperature)
                .sub_(normalizer[rows, None])
                .exp_()
                .mul_(-upstream[rows, None])
            )
            g.scatter_add_(1, local[rows, None], (upstream[rows] * mine[rows])[:, None])
            g = g.to(weight.dtype)
            grad_hidden[rows] = g @ used
            grad_weight[: ctx.real] += g.T @ hidden[rows]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None, None


def hidden_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    vocabulary: int,
    group: dist.ProcessGroup,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Log-probability of `targets` [t] (int64) and entropy of the distribution, both [t] in fp32, at the temperature.

    `hidden` [t, h], of any float dtype, is the same on every rank of the tensor-parallel `group`; `weight` [v / tp, h]
    is this rank's rows of the output layer; rows at or past `vocabulary` are padding and have no probability. Only the
    log-probabilities carry gradients; the one of `hidden` is this rank's share of the sum over the group.
    """
    # Megatron hands out a bf16 model's last hidden states in fp32: nothing is lost on the way back.
    hidden = hidden.to(weight.dtype)
    logprobs, entropy = _HiddenLogProbs.apply(hidden, weight, targets, vocabulary, group, temperature)  # type: ignore[no-untyped-call]
    return logprobs, entropy


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    logits = (hidden @ weight.T).float()
    return logits if temperature == 1.0 else logits.div_(temperature)


def _chunks(t: int, columns: int) -> Iterator[slice]:
    size = max(1, ENTRIES_PER_CHUNK // max(1, columns))
    return (slice(start, start + size) for start in range(0, t, size))


def _local_targets(targets: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    local = targets - first
    mine = (local >= 0) & (local < real)
    return local.masked_fill(~mine, 0), mine


def _logsumexp(z: Tensor, group: dist.ProcessGroup) -> tuple[Tensor, Tensor]:
    """log sum exp over all ranks' columns, and the mean logit under the distribution; [t] each. Overwrites z."""
    top = z.amax(1) if z.size(1) else z.new_full((len(z),), -torch.inf)
    if group.size() > 1:
        dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
    # Shifted by the maximum: sum exp(d) and sum exp(d) d need one more [t, v] and not two.
    z.sub_(top[:, None])
    weights = z.exp()
    sums = torch.stack([weights.sum(1), weights.mul_(z).sum(1)])
    _sum(sums, group)
    return top + sums[0].log(), top + sums[1] / sums[0]


def _sum(x: Tensor, group: dist.ProcessGroup) -> None:
    if group.size() > 1:
        dist.all_reduce(x, group=group)
