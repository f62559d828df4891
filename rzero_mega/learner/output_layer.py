"""The output layer with what is made of its logits inside: log-probabilities, and a loss with its gradients.

Logits exist for a chunk of response tokens at a time. A loss is a sum over tokens, so a chunk's is known as soon as its
log-probabilities are, and its gradients are taken in the same visit: the layer's three matrix products, logits and the
gradients of hidden states and weight, run once each, and no logit is computed twice or kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from rzero_mega.learner.losses.grpo import merged

# What the logits of a chunk, twice in fp32, and the gradient of the weight may take at one time. Where an fp32 copy of
# the weight takes more, the logits may take as much as that: thin matrix products starve a GPU.
CHUNK_BYTES = 3 << 28
FP32 = 4
# Below this share of the probability a rank's columns count for nothing beside others; its inverse has to be finite.
SMALLEST_SHARE = 1e-20

TokenLoss = Callable[[slice, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(loss [], statistics) of a slice of the response tokens, from their log-probabilities and entropies."""


@dataclass(frozen=True)
class OutputLayer:
    """This rank's rows [v / tp, h] of the output layer; those at or past `vocabulary` are padding.

    Rows are spread over the tensor-parallel `group`. Logits are divided by the temperature.
    """

    weight: Tensor
    vocabulary: int
    group: dist.ProcessGroup
    temperature: float = 1.0

    @property
    def first(self) -> int:
        """The token of this rank's first row."""
        return self.group.rank() * self.weight.size(0)

    @property
    def real(self) -> Tensor:
        """The rows that are no padding."""
        return self.weight[: max(0, min(self.vocabulary - self.first, self.weight.size(0)))]


def chunks(weight: Tensor, n: int) -> Iterator[slice]:
    """Slices of n tokens, nearly equal, whose logits through the weight [v / tp, h] may exist at one time."""
    columns, hidden = weight.shape
    allowed = max(CHUNK_BYTES, weight.nbytes + FP32 * weight.numel())
    # Of a token: its logits twice in fp32, and its hidden state with what is computed from that.
    most = (allowed - weight.nbytes) // (2 * FP32 * max(1, columns) + 4 * FP32 * hidden)
    number = -(-n // max(1, most))
    size = -(-n // max(1, number))
    return (slice(i * size, min((i + 1) * size, n)) for i in range(number))


@dataclass(frozen=True)
class _Chunk:
    """Log-probabilities of a chunk of n tokens: of the targets [n], and of this rank's columns [n, c] given these.

    `share` [n, 1] is the probability of these columns together; None: all columns are here. `mine` [n] says whose
    target is among them, `local` [n] as which.
    """

    targets: Tensor
    columns: Tensor
    share: Tensor | None
    mine: Tensor
    local: Tensor


def response_logprobs(layer: OutputLayer, hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of `targets` [n] (int64) after the hidden states `hidden[rows]`, [n] in fp32, without gradient.

    `hidden` [t, h] is the same on every rank of the group, `rows` [n] are distinct.
    """
    found = torch.empty(len(rows), device=hidden.device)
    with torch.no_grad():
        for chunk in chunks(layer.weight, len(rows)):
            found[chunk] = _chunk(layer, hidden[rows[chunk]].to(layer.weight.dtype), targets[chunk]).targets
    return found


def output_loss(
    layer: OutputLayer, hidden: Tensor, rows: Tensor, targets: Tensor, token_loss: TokenLoss
) -> tuple[Tensor, Tensor]:
    """(loss [], statistics) over the tokens, summed over chunks as `losses.grpo.merged` does; the loss has gradients.

    Arguments as in `response_logprobs`. The gradient of `hidden` is this rank's share of the sum over the group.
    """
    # Megatron hands out a bf16 model's last hidden states in fp32: nothing is lost on the way back.
    hidden = hidden.to(layer.weight.dtype)
    loss, statistics = _OutputLoss.apply(hidden, layer.weight, layer, rows, targets, token_loss)  # type: ignore[no-untyped-call]
    return loss, statistics


class _OutputLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        layer: OutputLayer,
        rows: Tensor,
        targets: Tensor,
        token_loss: TokenLoss,
    ) -> tuple[Tensor, Tensor]:
        grad_hidden, grad_weight = torch.zeros_like(hidden), torch.empty_like(weight)
        found: list[tuple[Tensor, Tensor]] = []
        for chunk in chunks(layer.weight, len(rows)):
            here = rows[chunk]
            tokens = partial(token_loss, chunk)
            # A call of its own: what a chunk takes is free before the next one begins.
            grad_hidden[here], outcome = _visit(layer, hidden[here], targets[chunk], tokens, grad_weight, not found)
            found.append(outcome)
        if not found:
            nothing = torch.zeros(0, device=hidden.device)
            found.append(token_loss(slice(0, 0), nothing, nothing))
            grad_weight.zero_()
        ctx.gradients = grad_hidden, grad_weight
        statistics = merged([statistics for _, statistics in found])
        ctx.mark_non_differentiable(statistics)
        return torch.stack([loss for loss, _ in found]).sum(), statistics

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None, None]:
        grad_hidden, grad_weight = ctx.gradients
        del ctx.gradients
        return grad_hidden.mul_(grads[0]), grad_weight.mul_(grads[0]), None, None, None, None


def _visit(
    layer: OutputLayer,
    hidden: Tensor,
    targets: Tensor,
    token_loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    grad_weight: Tensor,
    first: bool,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The gradient of a chunk's hidden states [n, h], and its (loss, statistics).

    The weight's gradient is added to `grad_weight`, or put there by the first chunk.
    """
    real = layer.real
    chunk = _chunk(layer, hidden, targets)
    residual = _residual(chunk, real.dtype)
    pulled = residual @ real
    entropy = _entropy(layer, chunk, hidden, pulled)
    with torch.enable_grad():
        logprobs = chunk.targets.detach().requires_grad_()
        loss, statistics = token_loss(logprobs, entropy)
        (upstream,) = torch.autograd.grad(loss, logprobs)
    # d logprob / d logit = ([it is the target] - softmax) / temperature. A row's factors go on its h entries, not on v.
    factor = -upstream[:, None] / layer.temperature
    factor = factor if chunk.share is None else factor * chunk.share
    if first:
        grad_weight[len(real) :].zero_()
    grad_weight[: len(real)].addmm_(residual.T, (hidden * factor).to(hidden.dtype), beta=0.0 if first else 1.0)
    return (pulled * factor).to(hidden.dtype), (loss.detach(), statistics)


def _chunk(layer: OutputLayer, hidden: Tensor, targets: Tensor) -> _Chunk:
    """Of the tokens after `hidden` [n, h], which is of the weight's type."""
    real = layer.real
    local = targets - layer.first
    mine = (local >= 0) & (local < len(real))
    local = local.masked_fill(~mine, 0)
    logits = (hidden @ real.T).float()
    if layer.temperature != 1.0:
        logits.div_(layer.temperature)
    if layer.group.size() == 1:
        columns = logits.log_softmax(1)
        return _Chunk(columns.gather(1, local[:, None])[:, 0], columns, None, mine, local)
    total, target = logits.new_full((len(targets),), -torch.inf), logits.new_zeros(len(targets))
    first = logits[:, 0].clone() if len(real) else total
    if len(real):
        target = torch.where(mine, logits.gather(1, local[:, None])[:, 0], target)
    columns = logits.log_softmax(1)
    if len(real):
        # log sum exp of the columns here: log_softmax has computed it, and any column tells it.
        total = first - columns[:, 0]
    every = [torch.empty(2, len(targets), device=hidden.device) for _ in range(layer.group.size())]
    dist.all_gather(every, torch.stack([total, target]), group=layer.group)
    totals = torch.stack([one[0] for one in every])
    normalizer = totals.logsumexp(0)
    share = (total - normalizer).exp().clamp(min=SMALLEST_SHARE)[:, None]
    return _Chunk(torch.stack([one[1] for one in every]).sum(0) - normalizer, columns, share, mine, local)


def _residual(logprobs: _Chunk, dtype: torch.dtype) -> Tensor:
    """(softmax - [it is the target]) / share, [n, c] in the weight's type; takes the place of `columns` in fp32."""
    columns = logprobs.columns
    residual = torch.exp(columns, out=columns if columns.dtype == dtype else torch.empty_like(columns, dtype=dtype))
    if not residual.size(1):
        return residual
    # From its log-probability: in bf16, 1 less a probability near 1 would be 0.
    target = logprobs.targets.expm1()
    if logprobs.share is not None:
        target = target / logprobs.share[:, 0]
    value = torch.where(logprobs.mine, target.to(dtype), residual.gather(1, logprobs.local[:, None])[:, 0])
    return residual.scatter_(1, logprobs.local[:, None], value[:, None])


def _entropy(layer: OutputLayer, logprobs: _Chunk, hidden: Tensor, pulled: Tensor) -> Tensor:
    """Entropies [n]: with z the logits, H = log sum exp z - E[z] = -logprob - (E[z] - z_target).

    E[z] - z_target is `pulled` times the hidden state: `pulled` [n, h] is (softmax - [it is the target]) times the
    weight, which the gradient needs anyway, so that no pass over the logits is spent on entropy.
    """
    ahead = torch.linalg.vecdot(pulled.float(), hidden.float()) / layer.temperature
    if logprobs.share is not None:
        ahead = ahead * logprobs.share[:, 0]
        dist.all_reduce(ahead, group=layer.group)
    return -logprobs.targets - ahead
