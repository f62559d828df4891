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

# What the logits of a chunk may take, with its hidden states and their gradient. Where an fp32 copy of the weight takes
# more, a chunk may take as much as that: thin matrix products starve a GPU, and every chunk after a micro-batch's first
# reads and writes the weight's gradient again.
CHUNK_BYTES = 1 << 29
# Logits of a chunk that exist in fp32 at one time: on a GPU enough to keep it busy, on a CPU what a core has in cache.
GPU_PIECE, CPU_PIECE = 1 << 25, 1 << 18
FP32 = 4
# Below this share of the probability a rank's columns count for nothing beside others; its inverse has to be finite.
SMALLEST_SHARE = 1e-20

TokenLoss = Callable[[slice, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(loss [], statistics) of a slice of the response tokens, from their log-probabilities and entropies."""


@dataclass(frozen=True)
class OutputLayer:
    """This rank's rows [v / tp, h] of the output layer; those at or past `vocabulary` are padding.

    Rows are spread over the tensor-parallel `group`. Logits are divided by the temperature. With `fused` they are
    normalised by a kernel in Triton where they are on a GPU.
    """

    weight: Tensor
    vocabulary: int
    group: dist.ProcessGroup
    temperature: float = 1.0
    fused: bool = False

    @property
    def first(self) -> int:
        """The token of this rank's first row."""
        return self.group.rank() * self.weight.size(0)

    @property
    def real(self) -> Tensor:
        """The rows [c, h] that are no padding."""
        return self.weight[: max(0, min(self.vocabulary - self.first, self.weight.size(0)))]


def response_logprobs(layer: OutputLayer, hidden: Tensor, rows: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of `targets` [n] (int64) after the hidden states `hidden[rows]`, [n] in fp32, without gradient.

    `hidden` [t, h] is the same on every rank of the group, `rows` [n] are distinct.
    """
    found = torch.empty(len(rows), device=hidden.device)
    with torch.no_grad():
        for chunk in chunks(layer.weight, len(rows)):
            states = hidden[rows[chunk]].to(layer.weight.dtype)
            found[chunk] = _chunk(layer, states, targets[chunk], probabilities=False).logprobs
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


def chunks(weight: Tensor, n: int) -> Iterator[slice]:
    """Slices of n tokens, nearly equal, whose logits through the weight [v / tp, h] may exist at one time.

    One at least, if of no token.
    """
    columns, width = weight.shape
    allowed = max(CHUNK_BYTES, FP32 * weight.numel())
    # Of a token: its logits, its hidden state and the gradient of that.
    most = allowed // (weight.element_size() * (columns + 2 * width))
    number = max(1, -(-n // max(1, most)))
    size = -(-n // number)
    return (slice(i * size, min((i + 1) * size, n)) for i in range(number))


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
        grad_hidden = torch.zeros_like(hidden)
        # Nobody wants that of a weight that doesn't train.
        grad_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        if grad_weight is not None:
            grad_weight[len(layer.real) :].zero_()
        losses: list[Tensor] = []
        statistics: list[Tensor] = []
        for chunk in chunks(weight, len(rows)):
            here = rows[chunk]
            # A call of its own: what a chunk takes is free before the next one begins.
            visit = _visit(layer, hidden[here], targets[chunk], partial(token_loss, chunk), grad_weight, bool(losses))
            grad_hidden[here], loss, sums = visit
            losses.append(loss)
            statistics.append(sums)
        ctx.gradients = grad_hidden, grad_weight
        found = merged(statistics)
        ctx.mark_non_differentiable(found)
        return torch.stack(losses).sum(), found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None, None]:
        grad_hidden, grad_weight = ctx.gradients
        del ctx.gradients
        if grad_weight is not None:
            grad_weight.mul_(grads[0])
        return grad_hidden.mul_(grads[0]), grad_weight, None, None, None, None


def _visit(
    layer: OutputLayer,
    hidden: Tensor,
    targets: Tensor,
    token_loss: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    grad_weight: Tensor | None,
    add: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """(gradient of the hidden states [n, h], loss [], statistics) of a chunk; `hidden` [n, h] is overwritten.

    The weight's gradient takes the place of what is in `grad_weight`, or is added to that; None: it is not computed.
    """
    real = layer.real
    chunk = _chunk(layer, hidden, targets, probabilities=True)
    residual = _residual(chunk)
    pulled = residual @ real
    entropy = _entropy(layer, chunk, hidden, pulled)
    with torch.enable_grad():
        logprobs = chunk.logprobs.detach().requires_grad_()
        loss, statistics = token_loss(logprobs, entropy)
        (upstream,) = torch.autograd.grad(loss, logprobs)
    # d logprob / d logit = ([it is the target] - softmax) / temperature. A token's factor goes on h numbers, not on v.
    factor = (-upstream / layer.temperature * chunk.share)[:, None]
    if grad_weight is not None:
        grad_weight[: len(real)].addmm_(residual.T, hidden.mul_(factor), beta=1.0 if add else 0.0)
    return pulled.mul_(factor), loss.detach(), statistics


@dataclass(frozen=True)
class _Chunk:
    """A chunk of n tokens as a rank sees it, which has c columns of the vocabulary; of the weight's type or fp32.

    `logprobs` [n] are those of the targets, `share` [n] is the probability of these columns together. `mine` [n] says
    whose target is among them, `local` [n] as which. `columns` [n, c] are logits, or probabilities given these columns.
    """

    logprobs: Tensor
    share: Tensor
    mine: Tensor
    local: Tensor
    columns: Tensor


def _chunk(layer: OutputLayer, hidden: Tensor, targets: Tensor, *, probabilities: bool) -> _Chunk:
    """Of the tokens after `hidden` [n, h], which is of the weight's type."""
    real = layer.real
    local = targets - layer.first
    mine = (local >= 0) & (local < len(real))
    local = local.masked_fill(~mine, 0)
    columns = torch.addmm(hidden.new_empty(1), hidden, real.T, beta=0.0, alpha=1.0 / layer.temperature)
    if layer.fused and columns.is_cuda and columns.size(1):
        from rzero_mega.learner.normalize_kernel import normalize

        given, total = normalize(columns, local, probabilities=probabilities)
    else:
        given, total = _normalize(columns, local, probabilities=probabilities)
    log_share = total - _gathered(total, layer.group).logsumexp(0)
    logprobs = _summed(torch.where(mine, given + log_share, 0.0), layer.group)
    return _Chunk(logprobs, log_share.exp().clamp(min=SMALLEST_SHARE), mine, local, columns)


def _normalize(logits: Tensor, targets: Tensor, *, probabilities: bool) -> tuple[Tensor, Tensor]:
    """(log-probability of the target, log sum exp) of each row of logits [n, c], both [n] in fp32.

    If they are asked for, probabilities take the place of the logits. Without columns: 0, and that of nothing.
    """
    given = torch.zeros(len(logits), device=logits.device)
    total = torch.full_like(given, -torch.inf)
    for piece in _pieces(logits):
        given[piece], total[piece] = _normalize_piece(logits[piece], targets[piece], probabilities=probabilities)
    return given, total


def _normalize_piece(logits: Tensor, targets: Tensor, *, probabilities: bool) -> tuple[Tensor, Tensor]:
    """`_normalize` of rows that may be copied in fp32 at one time."""
    logprobs = logits.log_softmax(1, dtype=torch.float32)
    # log_softmax has computed it, and any column tells it.
    total = logits[:, 0] - logprobs[:, 0]
    if probabilities:
        torch.exp(logprobs, out=logits)
    return logprobs.gather(1, targets[:, None])[:, 0], total


def _residual(chunk: _Chunk) -> Tensor:
    """(softmax - [it is the target]) / share, [n, c], in the place of the probabilities."""
    columns = chunk.columns
    if columns.size(1):
        # From its log-probability: in bf16, 1 less a probability near 1 would be 0.
        target = (chunk.logprobs.expm1() / chunk.share).to(columns.dtype)
        # Not `scatter_`, which on a CPU copies all of a bf16 tensor.
        there = torch.arange(len(columns), device=columns.device), chunk.local
        columns[there] = torch.where(chunk.mine, target, columns[there])
    return columns


def _entropy(layer: OutputLayer, chunk: _Chunk, hidden: Tensor, pulled: Tensor) -> Tensor:
    """Entropies [n]: with z the logits, H = log sum exp z - E[z] = -logprob - (E[z] - z_target).

    E[z] - z_target is `pulled` times the hidden state: `pulled` [n, h] is (softmax - [it is the target]) / share times
    the weight, which the gradient needs anyway, so that no pass over the logits is spent on entropy.
    """
    ahead = torch.empty_like(chunk.logprobs)
    for piece in _pieces(hidden):
        ahead[piece] = (pulled[piece].float() * hidden[piece]).sum(1)
    return -chunk.logprobs - _summed(ahead * chunk.share / layer.temperature, layer.group)


def _pieces(rows: Tensor) -> Iterator[slice]:
    """Slices of the rows [n, c] that may be copied in fp32 at one time; none if they are empty."""
    n, width = rows.shape
    size = max(1, (GPU_PIECE if rows.is_cuda else CPU_PIECE) // max(1, width))
    return (slice(start, start + size) for start in range(0, n if width else 0, size))


def _gathered(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """x of every rank, [ranks, ...]."""
    if group.size() == 1:
        return x[None]
    every = [torch.empty_like(x) for _ in range(group.size())]
    dist.all_gather(every, x, group=group)
    return torch.stack(every)


def _summed(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The sum over ranks, in the place of x."""
    if group.size() > 1:
        dist.all_reduce(x, group=group)
    return x
