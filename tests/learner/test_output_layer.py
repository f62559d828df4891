from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.learner import output_layer as module
from rzero_mega.learner.losses.grpo import STATISTICS
from rzero_mega.learner.output_layer import OutputLayer, output_loss, response_logprobs
from tests.learner.forked_ranks import LayoutCase, run_program

VOCABULARY = 13


@pytest.fixture(scope="module", params=[(0, 30), (2000, 1), (1 << 30, 1 << 18)])
def group(request: pytest.FixtureRequest, alone: ParallelLayout) -> Iterator[dist.ProcessGroup]:
    """The group of one process, with chunks and pieces of few tokens, of some, and of more than there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", request.param[0])
        patch.setattr(module, "CPU_PIECE", request.param[1])
        assert dist.group.WORLD is not None
        yield dist.group.WORLD


def logits_and_targets(seed: int, tokens: int, columns: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(tokens, columns, generator=generator)
    return logits, torch.randint(VOCABULARY, (tokens,), generator=generator)


def hidden_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    vocabulary: int,
    group: dist.ProcessGroup,
    temperature: float = 1.0,
    upstream: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(log-probabilities, entropies); with `upstream` the gradients of hidden states and weight are those of it."""
    layer, rows = OutputLayer(weight, vocabulary, group, temperature), torch.arange(len(targets))
    seen: list[tuple[Tensor, Tensor]] = []

    def loss_of(tokens: slice, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((logprobs.detach(), entropy))
        factor = torch.ones(len(targets)) if upstream is None else upstream
        loss = (logprobs * factor[tokens]).sum()
        return loss, torch.zeros(len(STATISTICS)) + loss.detach()

    loss, statistics = output_loss(layer, hidden, rows, targets, loss_of)
    if upstream is not None:
        loss.backward()  # type: ignore[no-untyped-call]
    logprobs, entropy = (torch.cat(columns) for columns in zip(*seen, strict=True))
    assert statistics[0] == pytest.approx(loss.item(), rel=1e-5, abs=1e-5)
    # Each product is as it was, but in how a library cuts it up.
    torch.testing.assert_close(logprobs, response_logprobs(layer, hidden, rows, targets), atol=1e-5, rtol=1e-6)
    return logprobs, entropy


def token_logprobs(
    logits: Tensor, targets: Tensor, vocabulary: int, group: dist.ProcessGroup, upstream: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Through an output layer that hands its input through, so that hidden states are logits."""
    unit = torch.eye(logits.size(1), dtype=logits.dtype)
    return hidden_logprobs(logits, unit, targets, vocabulary, group, upstream=upstream)


@given(seed=st.integers(0, 2**31), tokens=st.integers(0, 8), padding=st.integers(0, 3), scale=st.floats(0.1, 60.0))
def test_equal_to_log_softmax_over_the_columns_that_are_no_padding(
    group: dist.ProcessGroup, seed: int, tokens: int, padding: int, scale: float
) -> None:
    logits, targets = logits_and_targets(seed, tokens, VOCABULARY + padding, scale)
    logits[:, VOCABULARY:] = 1e4  # would take all the probability
    found, entropy = token_logprobs(logits, targets, VOCABULARY, group)
    expected = logits[:, :VOCABULARY].double().log_softmax(-1)
    torch.testing.assert_close(found.double(), expected.gather(1, targets[:, None])[:, 0], atol=3e-5, rtol=1e-6)
    torch.testing.assert_close(entropy.double(), -(expected.exp() * expected).sum(-1), atol=3e-5, rtol=1e-6)
    assert found.dtype == entropy.dtype == torch.float32


@given(seed=st.integers(0, 2**31), tokens=st.integers(1, 8), padding=st.integers(0, 3))
def test_gradient_equals_that_of_log_softmax_and_is_zero_in_padding(
    group: dist.ProcessGroup, seed: int, tokens: int, padding: int
) -> None:
    logits, targets = logits_and_targets(seed, tokens, VOCABULARY + padding)
    upstream = torch.linspace(-1.0, 2.0, tokens)
    ours = logits.clone().requires_grad_()
    token_logprobs(ours, targets, VOCABULARY, group, upstream)
    theirs = logits.clone().requires_grad_()
    reference = theirs[:, :VOCABULARY].log_softmax(-1).gather(1, targets[:, None])[:, 0]
    reference.backward(upstream)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=1e-5)
    assert ours.grad is not None and not ours.grad[:, VOCABULARY:].any()


@given(seed=st.integers(0, 2**31), tokens=st.integers(1, 8), temperature=st.sampled_from([0.3, 0.7, 1.0, 1.9]))
def test_a_temperature_divides_the_logits(group: dist.ProcessGroup, seed: int, tokens: int, temperature: float) -> None:
    logits, targets = logits_and_targets(seed, tokens, VOCABULARY)
    upstream, unit = torch.linspace(-1.0, 2.0, tokens), torch.eye(VOCABULARY)
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    found, entropy = hidden_logprobs(ours, unit, targets, VOCABULARY, group, temperature, upstream)
    expected = (theirs / temperature).log_softmax(-1)
    reference = expected.gather(1, targets[:, None])[:, 0]
    reference.backward(upstream)
    torch.testing.assert_close(found, reference, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(entropy, -(expected.exp() * expected).sum(-1), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)


@given(seed=st.integers(0, 2**31), tokens=st.integers(1, 8), padding=st.integers(0, 3))
def test_gradients_of_hidden_states_and_weights_equal_those_of_a_linear_layer_and_log_softmax(
    group: dist.ProcessGroup, seed: int, tokens: int, padding: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, 5, generator=generator)
    weight = torch.randn(VOCABULARY + padding, 5, generator=generator)
    targets = torch.randint(VOCABULARY, (tokens,), generator=generator)
    upstream = torch.linspace(-1.0, 2.0, tokens)
    ours = [x.clone().requires_grad_() for x in (hidden, weight)]
    hidden_logprobs(ours[0], ours[1], targets, VOCABULARY, group, upstream=upstream)
    theirs = [x.clone().requires_grad_() for x in (hidden, weight)]
    logits = theirs[0] @ theirs[1][:VOCABULARY].T
    logits.log_softmax(-1).gather(1, targets[:, None])[:, 0].backward(upstream)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, reference.grad, atol=1e-5, rtol=1e-5)


def test_logits_in_bfloat16_are_summed_in_float32_and_keep_their_gradient_type(group: dist.ProcessGroup) -> None:
    logits, targets = logits_and_targets(0, 5, VOCABULARY)
    ours = logits.bfloat16().requires_grad_()
    found, _ = token_logprobs(ours, targets, VOCABULARY, group, torch.ones(5))
    expected = ours.detach().float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert ours.grad is not None and ours.grad.dtype == torch.bfloat16


def test_logits_and_their_values_survive(group: dist.ProcessGroup) -> None:
    logits, targets = logits_and_targets(1, 5, VOCABULARY)
    before = logits.clone()
    token_logprobs(logits, targets, VOCABULARY, group)
    assert torch.equal(logits, before)


def test_entropy_of_a_uniform_and_of_a_certain_distribution(group: dist.ProcessGroup) -> None:
    logits = torch.zeros(2, VOCABULARY)
    logits[1, 4] = 200.0
    found, entropy = token_logprobs(logits, torch.tensor([0, 4]), VOCABULARY, group)
    uniform = torch.tensor(float(VOCABULARY)).log()
    torch.testing.assert_close(entropy, torch.stack([uniform, torch.tensor(0.0)]))
    torch.testing.assert_close(found, torch.stack([-uniform, torch.tensor(0.0)]))


def test_entropy_carries_no_gradient(group: dist.ProcessGroup) -> None:
    logits, targets = logits_and_targets(2, 4, VOCABULARY)
    _, entropy = token_logprobs(logits.requires_grad_(), targets, VOCABULARY, group, torch.ones(4))
    assert not entropy.requires_grad


class Counter(TorchDispatchMode):
    """Matrix products with the output layer's weight, and bytes that all else reads and writes of a chunk's logits."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns, self.products, self.nbytes = columns, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.name().split("::")[1].split(".")[0].rstrip("_")
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if name in ("mm", "addmm"):
            self.products += any(self.columns in tensor.shape for tensor in tensors)
        elif not func.is_view and name not in ("gather", "index", "index_put"):
            written = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
            # An `out` is written only.
            read = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
            self.nbytes += sum(x.nbytes for x in (*read, *written) if x.dim() == 2 and x.size(1) == self.columns)
        return result


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 16), (torch.bfloat16, 20)])
def test_a_step_takes_three_products_and_few_passes_over_the_logits(
    alone: ParallelLayout, dtype: torch.dtype, most: int
) -> None:
    """A prompt's rows among them are no part of it; scoring takes one product and half of the passes."""
    n, columns, h = 40, 301, 16
    assert dist.group.WORLD is not None
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3 * n, h, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(columns, h, generator=generator).to(dtype).requires_grad_()
    rows, targets = torch.arange(n, 2 * n), torch.randint(columns, (n,), generator=generator)
    layer = OutputLayer(weight, columns, dist.group.WORLD)
    with Counter(columns) as visit:
        loss, _ = output_loss(layer, hidden, rows, targets, lambda _, p, __: (p.sum(), torch.zeros(len(STATISTICS))))
        loss.backward()  # type: ignore[no-untyped-call]
    assert (visit.products, visit.nbytes / (n * columns)) == (3, most)
    with Counter(columns) as scoring:
        response_logprobs(layer, hidden, rows, targets)
    assert (scoring.products, scoring.nbytes / (n * columns)) == (1, most - (8 if dtype == torch.float32 else 6))


def test_rows_of_prompts_have_no_part_in_anything(alone: ParallelLayout) -> None:
    """Not even where they are not finite."""
    logits, targets = logits_and_targets(3, 6, VOCABULARY)
    assert dist.group.WORLD is not None
    layer, rows = OutputLayer(torch.eye(VOCABULARY), VOCABULARY, dist.group.WORLD), torch.tensor([1, 2, 5])
    whole = torch.full((6, VOCABULARY), torch.nan)
    whole[rows] = logits[rows]
    whole.requires_grad_()
    expected = logits.log_softmax(-1).gather(1, targets[:, None])[rows, 0]
    torch.testing.assert_close(response_logprobs(layer, whole, rows, targets[rows]), expected, atol=1e-5, rtol=1e-6)
    loss, _ = output_loss(layer, whole, rows, targets[rows], lambda _, p, __: (p.sum(), torch.zeros(len(STATISTICS))))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(expected.sum().item())
    assert whole.grad is not None and whole.grad[rows].any(1).all() and not whole.grad[[0, 3, 4]].any()


@pytest.mark.gloo
def test_over_tensor_parallel_ranks_it_is_what_one_process_computes(tmp_path: Path) -> None:
    """The ranks compare; one has no column but padding, and one columns that have no weight beside the others'."""
    run_program("tests.learner.output_ranks", [LayoutCase("tp4", tp=4)], tmp_path)
