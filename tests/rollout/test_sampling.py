"""Random streams and inverse-CDF sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.rollout.sampling import sample_tokens, uniform_stream

BELOW_ONE = float(np.nextafter(np.float32(1.0), np.float32(0.0)))

rows = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40)
uniform = st.sampled_from([0.0, 0.5, BELOW_ONE]) | st.floats(0, BELOW_ONE, width=32)
samplings = st.builds(
    SamplingConfig,
    temperature=st.sampled_from([0.1, 0.7, 1.0, 2.0]),
    top_k=st.integers(0, 45),
    top_p=st.sampled_from([0.0, 0.3, 0.95, 0.99, 1.0]),
)


def kept_by_definition(logits: list[float], sampling: SamplingConfig) -> set[int]:
    """Tokens that may be drawn, token by token in float64; what ties with a kept one is kept.

    float32 may see a tie in what differs by its rounding, and decide differently where the mass above a token is just
    top_p: both are allowed to it.
    """
    scaled = np.array(logits) / sampling.temperature
    weights = np.exp(scaled - scaled.max())
    likelier = {i: weights > weights[i] * (1 + 1e-4) + np.finfo(np.float32).tiny for i in range(len(weights))}
    kept = set(likelier)
    if sampling.top_k:
        kept = {i for i in kept if likelier[i].sum() < sampling.top_k}
    total = sum(weights[i] for i in kept)
    above = {i: sum(weights[j] for j in kept if likelier[i][j]) for i in kept}
    return {i for i in kept if sampling.top_p == 1.0 or above[i] < (sampling.top_p + 1e-4) * total or above[i] == 0}


@given(rows, uniform, samplings)
@example([-7e-16, 0.0], 0.0, SamplingConfig(temperature=0.1, top_p=0.0))
@example([-7e-16, 0.0], 0.0, SamplingConfig(temperature=0.1, top_k=1))
def test_a_token_is_one_that_the_filters_keep_and_its_logprob_ignores_them(
    logits: list[float], u: float, sampling: SamplingConfig
) -> None:
    tokens, logprobs = sample_tokens(torch.tensor([logits]), torch.tensor([u]), sampling)
    assert int(tokens[0]) in kept_by_definition(logits, sampling)
    scaled = torch.tensor(logits, dtype=torch.float64) / sampling.temperature
    expected = scaled.log_softmax(-1)[int(tokens[0])]
    assert float(logprobs[0]) == pytest.approx(float(expected), abs=1e-5, rel=1e-5)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), uniform)
def test_no_token_of_probability_zero_is_drawn(counts: list[int], u: float) -> None:
    counts[0] += 1
    tokens, _ = sample_tokens(torch.tensor([counts]).log(), torch.tensor([u]), SamplingConfig())
    assert counts[int(tokens[0])] > 0


@pytest.mark.parametrize("size", [7, 1000, 150_000])
def test_a_uniform_just_below_one_draws_a_token_that_exists(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    logits = torch.randn(20, size, generator=generator) * 3
    logits[:, -size // 3 :] = -torch.inf
    tokens, logprobs = sample_tokens(logits, torch.full((20,), BELOW_ONE), SamplingConfig())
    assert logprobs.isfinite().all()
    assert (tokens < size - size // 3).all()


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0]]).expand(50_000, 4)
    uniforms = torch.from_numpy(uniform_stream("frequencies", 0, 50_000))
    tokens, _ = sample_tokens(logits, uniforms, SamplingConfig(temperature=0.5))
    observed = tokens.bincount(minlength=4) / 50_000
    assert torch.allclose(observed, (logits[0] / 0.5).softmax(-1), atol=0.01)


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    drawn = {}
    for top_p in (0.2, 0.6, 0.85, 0.97):
        uniforms = torch.linspace(0, BELOW_ONE, 200)
        tokens, _ = sample_tokens(logits.expand(200, 4), uniforms, SamplingConfig(top_p=top_p))
        drawn[top_p] = set(tokens.tolist())
    assert drawn == {0.2: {0}, 0.6: {0, 1}, 0.85: {0, 1, 2}, 0.97: {0, 1, 2, 3}}


def test_top_p_counts_the_mass_of_what_top_k_left() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(200, 4)
    sampling = SamplingConfig(top_k=2, top_p=0.5)  # 0.4 / 0.7 reaches 0.5 alone
    tokens, _ = sample_tokens(logits, torch.linspace(0, BELOW_ONE, 200), sampling)
    assert set(tokens.tolist()) == {0}


def test_ties_at_the_edge_of_top_k_are_all_kept() -> None:
    logits = torch.tensor([1.0, 0.0, 0.0, 0.0, -1.0]).expand(300, 5)
    tokens, _ = sample_tokens(logits, torch.linspace(0, BELOW_ONE, 300), SamplingConfig(top_k=2))
    assert set(tokens.tolist()) == {0, 1, 2, 3}


def test_temperature_zero_is_argmax_and_takes_the_first_of_equals() -> None:
    tokens, _ = sample_tokens(torch.tensor([[0.0, 3.0, 3.0]]), torch.tensor([0.9]), SamplingConfig(temperature=0.0))
    assert tokens.tolist() == [1]


def test_a_tiny_temperature_does_not_overflow() -> None:
    logits = torch.tensor([[1.0, 80.0, 79.0]])
    tokens, logprobs = sample_tokens(logits, torch.tensor([BELOW_ONE]), SamplingConfig(temperature=1e-38))
    assert tokens.tolist() == [1]
    assert logprobs.isfinite().all()


def test_a_stream_depends_on_its_name_alone() -> None:
    stream = uniform_stream("seed/3/phase", 5, 100)
    assert stream.dtype == np.float32
    assert np.array_equal(uniform_stream("seed/3/phase", 5, 40), stream[:40])
    assert not np.array_equal(uniform_stream("seed/3/phase", 6, 100), stream)
    assert not np.array_equal(uniform_stream("seed/3/phasf", 5, 100), stream)
    assert not np.array_equal(uniform_stream("1:a", 2, 100), uniform_stream("a", 21, 100))


def test_a_stream_is_the_same_on_every_machine() -> None:
    assert uniform_stream("fixed", 0, 3).tolist() == [0.3577033281326294, 0.08749592304229736, 0.37971895933151245]


def test_a_stream_is_uniform_below_one() -> None:
    stream = uniform_stream("uniform", 0, 100_000)
    assert stream.min() >= 0.0
    assert stream.max() < 1.0
    assert np.abs(np.histogram(stream, bins=10, range=(0, 1))[0] / 100_000 - 0.1).max() < 0.01
