from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.learner import logprobs as module
from rzero_mega.learner.logprobs import hidden_logprobs

VOCABULARY = 13


@pytest.fixture(scope="module", params=[1, 50, 1 << 27])
def group(request: pytest.FixtureRequest, alone: ParallelLayout) -> Iterator[dist.ProcessGroup]:
    """The group of one process, with chunks of one token, of some, and of more than there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ENTRIES_PER_CHUNK", request.param)
        assert dist.group.WORLD is not None
        yield dist.group.WORLD


def logits_and_targets(seed: int, tokens: int, columns: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(tokens, columns, generator=generator)
    return logits, torch.randint(VOCABULARY, (tokens,), generator=generator)


def token_logprobs(logits: Tensor, targets: Tensor, vocabulary: int, group: dist.ProcessGroup) -> tuple[Tensor, Tensor]:
    """Through an output layer that hands its input through, so that hidden states are logits."""
    return hidden_logprobs(logits, torch.eye(logits.size(1), dtype=logits.dtype), targets, vocabulary, group)


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
    found, _ = token_logprobs(ours, targets, VOCABULARY, group)
    found.backward(upstream)
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
    found, entropy = hidden_logprobs(ours, unit, targets, VOCABULARY, group, temperature)
    expected = (theirs / temperature).log_softmax(-1)
    reference = expected.gather(1, targets[:, None])[:, 0]
    for logprobs in (found, reference):
        logprobs.backward(upstream)
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
    hidden_logprobs(ours[0], ours[1], targets, VOCABULARY, group)[0].backward(upstream)
    theirs = [x.clone().requires_grad_() for x in (hidden, weight)]
    logits = theirs[0] @ theirs[1][:VOCABULARY].T
    logits.log_softmax(-1).gather(1, targets[:, None])[:, 0].backward(upstream)
    for mine, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, reference.grad, atol=1e-5, rtol=1e-5)


def test_logits_in_bfloat16_are_summed_in_float32_and_keep_their_gradient_type(group: dist.ProcessGroup) -> None:
    logits, targets = logits_and_targets(0, 5, VOCABULARY)
    ours = logits.bfloat16().requires_grad_()
    found, _ = token_logprobs(ours, targets, VOCABULARY, group)
    expected = ours.detach().float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    found.sum().backward()
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
    _, entropy = token_logprobs(logits.requires_grad_(), targets, VOCABULARY, group)
    assert not entropy.requires_grad
