"""The output layer over tensor-parallel ranks against one process: `python -m tests.learner.output_ranks CASES.json`.

Four ranks have a vocabulary of 13 in shards of 5: the third is half padding, the last nothing else.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from rzero_mega.learner.megatron import compat

compat.install()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega.learner import output_layer as module  # noqa: E402
from rzero_mega.learner.losses.grpo import STATISTICS  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from rzero_mega.learner.output_layer import OutputLayer, output_loss, response_logprobs  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main  # noqa: E402

VOCABULARY, SHARD, RANKS, HIDDEN = 13, 5, 4, 6


def _run(case: LayoutCase, folder: Path) -> None:
    start_process_groups(case.layout, 0)
    assert dist.group.WORLD is not None
    alone = [dist.new_group([rank]) for rank in range(RANKS)][dist.get_rank()]
    for tokens, temperature, chunk_bytes, uneven in product((0, 7), (1.0, 0.7), (0, 1 << 30), (False, True)):
        module.CHUNK_BYTES = chunk_bytes
        hidden, weight, targets = _numbers(tokens, uneven)
        padded = torch.cat([weight, torch.full((SHARD * RANKS - VOCABULARY, HIDDEN), 50.0)])
        mine = padded.split(SHARD)[dist.get_rank()]
        _compare(
            _all(OutputLayer(mine, VOCABULARY, dist.group.WORLD, temperature), hidden, targets),
            _all(OutputLayer(weight, VOCABULARY, alone, temperature), hidden, targets),
            # Uneven logits z are up to 50: what rounding leaves of the sum of probabilities, z 2^-24, counts z times
            # in entropies.
            2e-4 if uneven else 1e-6,
        )


def _numbers(tokens: int, uneven: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(hidden states, weight, targets); uneven: the second rank's columns have next to no probability, and a target."""
    generator = torch.Generator().manual_seed(5)
    hidden, weight = (torch.randn(count, HIDDEN, generator=generator) for count in (tokens, VOCABULARY))
    if uneven:
        hidden[:, 0], weight[:5, 0], weight[5:10, 0] = 4.0, 8.0, -9.0
    targets = torch.randint(VOCABULARY, (tokens,), generator=generator)
    targets[:2] = torch.tensor([6, 12])[:tokens]
    return hidden, weight, targets


def _all(layer: OutputLayer, hidden: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Log-probabilities and entropies [t], and the gradients of hidden states and of the vocabulary's weight, whole."""
    h, w = hidden.clone().requires_grad_(), layer.weight.clone().requires_grad_()
    upstream, rows = torch.linspace(-1.0, 2.0, len(targets)), torch.arange(len(targets))
    seen: list[tuple[Tensor, Tensor]] = []

    def loss_of(tokens: slice, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((logprobs.detach(), entropy))
        return (logprobs * upstream[tokens]).sum(), torch.zeros(len(STATISTICS))

    layer = OutputLayer(w, layer.vocabulary, layer.group, layer.temperature)
    loss, _ = output_loss(layer, h, rows, targets, loss_of)
    loss.backward()  # type: ignore[no-untyped-call]
    assert h.grad is not None and w.grad is not None
    dist.all_reduce(h.grad, group=layer.group)
    shards = [torch.empty_like(w.grad) for _ in range(layer.group.size())]
    dist.all_gather(shards, w.grad, group=layer.group)
    whole = torch.cat(shards)
    assert not whole[VOCABULARY:].any()
    logprobs, entropy = (torch.cat(columns) for columns in zip(*seen, strict=True))
    torch.testing.assert_close(response_logprobs(layer, h.detach(), rows, targets), logprobs)
    return logprobs, entropy, h.grad, whole[:VOCABULARY]


def _compare(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    """An entropy is the difference of numbers that may be ten times as large."""
    for ours, theirs, times in zip(found, expected, (1, 10, 1, 1), strict=True):
        torch.testing.assert_close(ours, theirs, atol=times * tolerance, rtol=max(1e-6, 0.05 * tolerance))


if __name__ == "__main__":
    main(LayoutCase, _run)
