"""GSPO, CISPO and Dr. GRPO: values worked out by hand, where they agree with GRPO, and GSPO in parallel layouts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rzero_mega.coevolution.advantages import group_advantages
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import AdvantageConfig, GrpoConfig
from rzero_mega.learner.losses.aggregation import token_weights
from rzero_mega.learner.losses.grpo import STATISTICS, TokenInputs, grpo_loss
from rzero_mega.learner.losses.gspo import SequenceMap
from tests.learner.ranks import TrainingCase, run_cases

TOLERANCE = 1e-5
VOCABULARY = 61
PLAIN = GrpoConfig(kl_coefficient=0.0, importance_cap=None, loss_aggregation="sequence_mean", dual_clip=None)
GSPO = replace(PLAIN, policy_loss="gspo")
CISPO = replace(PLAIN, policy_loss="cispo")
NUMBER = st.floats(-2.0, 2.0)


def tokens(lengths: list[int], ratios: list[float], advantages: list[float]) -> tuple[Tensor, TokenInputs]:
    """The policy's log-probabilities, and inputs of sequences of these lengths with a ratio for every token."""
    ids = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    old = torch.linspace(-3.0, -1.0, len(ids), dtype=torch.float64)
    logprobs = (old + torch.tensor(ratios, dtype=torch.float64).log()).requires_grad_()
    weights = torch.tensor(token_weights("sequence_mean", lengths, 1, 1), dtype=torch.float64)
    assert torch.distributed.group.WORLD is not None
    sequences = SequenceMap(ids, len(lengths), torch.distributed.group.WORLD)
    return logprobs, TokenInputs(
        loss_weight=weights[ids],
        advantages=torch.tensor(advantages, dtype=torch.float64)[ids],
        rollout_logprobs=old,
        old_logprobs=old,
        reference_logprobs=None,
        sequence_log_ratios=sequences.means(logprobs.detach() - old),
    )


def loss_of(config: GrpoConfig, logprobs: Tensor, inputs: TokenInputs) -> tuple[float, list[float], float]:
    """(loss, d loss / d logprobs, number of clipped tokens)."""
    loss, statistics = grpo_loss(logprobs, torch.zeros_like(logprobs), inputs, config)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    return loss.item(), gradient.tolist(), dict(zip(STATISTICS, statistics.tolist(), strict=True))["clipped"]


def test_gspo_clips_the_geometric_mean_of_a_sequence_s_ratios(alone: ParallelLayout) -> None:
    # Sequence ratios: sqrt(2 * 0.5) = 1 with A = 1, and (8 * 1 * 1)^(1/3) = 2 with A = 3, clipped at 1.3.
    logprobs, inputs = tokens([2, 3], [2.0, 0.5, 8.0, 1.0, 1.0], [1.0, 3.0])
    loss, gradient, clipped = loss_of(GSPO, logprobs, inputs)
    assert loss == pytest.approx(-(1.0 * 1.0 + 3.0 * 1.3) / 2)
    # d s / d logprob = s / length, for every token the same.
    assert gradient == pytest.approx([-1 / 4, -1 / 4, 0.0, 0.0, 0.0])
    assert clipped == 3


def test_gspo_is_the_objective_of_sequences_and_has_its_gradient(alone: ParallelLayout) -> None:
    lengths, advantages = [3, 1, 2], [1.5, -2.0, -0.5]
    logprobs, inputs = tokens(lengths, [1.1, 0.9, 1.2, 0.7, 1.3, 1.4], advantages)
    assert inputs.old_logprobs is not None
    runs = (logprobs - inputs.old_logprobs).split(lengths)
    ratios = [run.mean().exp() for run in runs]
    terms = [torch.minimum(s * a, s.clamp(0.8, 1.3) * a) for s, a in zip(ratios, advantages, strict=True)]
    objective = -torch.stack(terms).mean()
    (expected,) = torch.autograd.grad(objective, logprobs)
    loss, gradient, _ = loss_of(GSPO, logprobs, inputs)
    assert loss == pytest.approx(objective.item())
    assert gradient == pytest.approx(expected.tolist())


@given(st.lists(st.tuples(st.floats(0.3, 3.0), NUMBER), min_size=1, max_size=6))
def test_gspo_of_sequences_of_one_token_is_grpo(alone: ParallelLayout, drawn: list[tuple[float, float]]) -> None:
    ratios, advantages = map(list, zip(*drawn, strict=True))
    logprobs, inputs = tokens([1] * len(drawn), ratios, advantages)
    ours, theirs = (loss_of(config, logprobs, inputs) for config in (GSPO, PLAIN))
    assert ours[0] == pytest.approx(theirs[0]) and ours[1] == pytest.approx(theirs[1])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_the_mean_of_a_sequence_is_that_of_its_tokens_wherever_others_are_empty(
    alone: ParallelLayout, lengths: list[int]
) -> None:
    ids = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    column = torch.arange(len(ids), dtype=torch.float64).square()
    assert torch.distributed.group.WORLD is not None
    found = SequenceMap(ids, len(lengths), torch.distributed.group.WORLD).means(column)
    expected = [float(run.mean()) for run in column.split(lengths) for _ in run]
    assert found.tolist() == pytest.approx(expected)


def test_a_micro_batch_of_padding_has_no_means(alone: ParallelLayout) -> None:
    assert torch.distributed.group.WORLD is not None
    nothing = torch.zeros(0, dtype=torch.int64)
    assert SequenceMap(nothing, 1, torch.distributed.group.WORLD).means(torch.zeros(0)).shape == (0,)


def test_cispo_bounds_the_weight_and_every_token_keeps_its_gradient(alone: ParallelLayout) -> None:
    logprobs, inputs = tokens([3], [1.0, 2.0, 0.5], [2.0])
    loss, gradient, clipped = loss_of(CISPO, logprobs, inputs)
    # Weights 1, 1.3 and 0.8; log-probabilities -3, -2 + log 2, -1 - log 2.
    expected = -2.0 * (-3.0 + 1.3 * (math.log(2.0) - 2.0) + 0.8 * (-1.0 - math.log(2.0))) / 3
    assert loss == pytest.approx(expected)
    assert gradient == pytest.approx([-2 / 3, -2.6 / 3, -1.6 / 3])
    assert clipped == 2


@given(st.lists(st.tuples(st.floats(0.81, 1.29), NUMBER), min_size=1, max_size=6))
def test_within_the_bounds_cispo_has_the_gradient_of_grpo(
    alone: ParallelLayout, drawn: list[tuple[float, float]]
) -> None:
    ratios, advantages = map(list, zip(*drawn, strict=True))
    logprobs, inputs = tokens([1] * len(drawn), ratios, advantages)
    assert loss_of(CISPO, logprobs, inputs)[1] == pytest.approx(loss_of(PLAIN, logprobs, inputs)[1])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_at_a_ratio_of_one_all_losses_have_one_gradient(
    alone: ParallelLayout, lengths: list[int], data: st.DataObject
) -> None:
    advantages = [data.draw(NUMBER) for _ in lengths]
    logprobs, inputs = tokens(lengths, [1.0] * sum(lengths), advantages)
    plain, *others = (loss_of(config, logprobs, inputs)[1] for config in (PLAIN, GSPO, CISPO))
    # With one update per step there are no old log-probabilities, and nothing of the sequence is needed.
    alone_in_step = replace(inputs, old_logprobs=None, sequence_log_ratios=None)
    others += [loss_of(config, logprobs, alone_in_step)[1] for config in (PLAIN, GSPO, CISPO)]
    for gradient in others:
        assert gradient == pytest.approx(plain)


def test_dr_grpo_sums_rewards_less_their_mean_over_a_constant(alone: ParallelLayout) -> None:
    advantages = group_advantages([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], 3, AdvantageConfig(scale="none"))
    assert advantages.values == pytest.approx([2 / 3, -1 / 3, -1 / 3, 1 / 3, 1 / 3, -2 / 3])
    lengths = [2, 1, 3, 1, 1, 2]
    logprobs, inputs = tokens(lengths, [1.0] * sum(lengths), list(advantages.values))
    weights = torch.tensor(token_weights("constant", lengths, 1, 10), dtype=torch.float64)
    inputs = replace(inputs, loss_weight=torch.repeat_interleave(weights, torch.tensor(lengths)))
    _, gradient, _ = loss_of(PLAIN, logprobs, inputs)
    # The paper's gradient: the sum over all tokens of A grad log p, over 6 responses of at most 10 tokens.
    expected = [-a / 60 for a, length in zip(advantages.values, lengths, strict=True) for _ in range(length)]
    assert gradient == pytest.approx(expected)


@pytest.mark.gloo
def test_gspo_has_one_ratio_per_sequence_in_every_layout(tiny_model: Callable[..., Any], tmp_path: Path) -> None:
    tiny_model("qwen3", num_hidden_layers=2, vocab_size=VOCABULARY).save_pretrained(tmp_path / "model")
    settings: dict[str, Any] = {
        "grpo": {
            "policy_loss": "gspo",
            "loss_aggregation": "sequence_mean",
            "sequences_per_update": 3,
            "clip_low": 0.005,
            "clip_high": 0.005,
        },
        "optimizer": {"learning_rate": 3e-2, "epsilon": 1e-1},
        "last": 1,
    }
    layouts: dict[str, dict[str, Any]] = {
        "cp2": {"cp": 2},
        "tp2-cp2": {"tp": 2, "cp": 2, "sequence_parallel": True},
        "pp2": {"pp": 2},
        "one-micro-batch": {"tokens_per_micro_batch": 512},
    }
    model = str(tmp_path / "model")
    cases = [TrainingCase(name, model, **layout, **settings) for name, layout in layouts.items()]
    token_level = {**settings, "grpo": {**settings["grpo"], "policy_loss": "clipped"}}
    alone = [TrainingCase("single", model, **settings), TrainingCase("by-token", model, **token_level)]
    found = run_cases([*alone, *cases], tmp_path)
    (expected,) = found["single"].metrics
    assert 0.05 < expected["clip_fraction"] < 0.95
    assert expected["clip_fraction"] != found["by-token"].metrics[0]["clip_fraction"]
    for name in layouts:
        assert found[name].metrics[0] == pytest.approx(expected, abs=TOLERANCE, rel=TOLERANCE), name
        for tensor, weight in found["single"].weights.items():
            torch.testing.assert_close(found[name].weights[tensor], weight, atol=TOLERANCE, rtol=0, msg=name)
