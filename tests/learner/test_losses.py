"""Every formula of the loss: values worked out by hand, properties, and gradients against finite differences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rzero_mega.config.schema import GrpoConfig
from rzero_mega.learner.losses.aggregation import (
    constant,
    micro_batch_token_mean,
    sequence_mean,
    token_mean,
    token_weights,
)
from rzero_mega.learner.losses.grpo import STATISTICS, TokenInputs, grpo_loss
from rzero_mega.learner.losses.importance import differences, truncated_importance
from rzero_mega.learner.losses.kl import k3_divergence
from rzero_mega.learner.losses.policy import clipped_policy_loss
from rzero_mega.learner.losses.sft import sft_loss

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=20)
LOGPROB = st.floats(-20.0, 0.0, width=32)
RULES = ("token_mean", "sequence_mean", "micro_batch_token_mean", "constant")


def policy(ratio: float, advantage: float, dual: float | None = 3.0) -> tuple[float, bool, float]:
    """(loss, clipped, d loss / d log p) of one token with clip bounds 0.2 and 0.3."""
    logprobs = torch.tensor([math.log(ratio)], dtype=torch.float64, requires_grad=True)
    old = torch.zeros(1, dtype=torch.float64)
    found = clipped_policy_loss(logprobs - old, torch.tensor([advantage], dtype=torch.float64), 0.2, 0.3, dual)
    (gradient,) = torch.autograd.grad(found.loss.sum(), logprobs)
    return found.loss.item(), bool(found.clipped.item()), gradient.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped", "gradient"),
    [
        (1.0, 2.0, -2.0, False, -2.0),
        (1.0, -2.0, 2.0, False, 2.0),
        (1.2, 2.0, -2.4, False, -2.4),  # inside the bounds
        (1.5, 2.0, -2.6, True, 0.0),  # a good token already likelier than 1 + high
        (0.5, 2.0, -1.0, False, -1.0),  # a good token gone unlikely is not held back
        (0.5, -2.0, 1.6, True, 0.0),  # a bad token already less likely than 1 - low
        (0.9, -2.0, 1.8, False, 1.8),
        (1.5, -2.0, 3.0, False, 3.0),  # a bad token gone likely is not held back
        (2.9, -2.0, 5.8, False, 5.8),  # just under the dual clip
        (5.0, -2.0, 6.0, True, 0.0),  # the dual clip: 3 x 2
        (5.0, 2.0, -2.6, True, 0.0),  # which is for negative advantages alone
        (5.0, 0.0, 0.0, False, 0.0),
    ],
)
def test_the_policy_loss_is_clipped_on_the_right_side(
    ratio: float, advantage: float, loss: float, clipped: bool, gradient: float
) -> None:
    assert policy(ratio, advantage) == (pytest.approx(loss), clipped, pytest.approx(gradient))


def test_without_a_dual_clip_the_loss_of_a_bad_token_is_not_bounded() -> None:
    assert policy(50.0, -2.0, dual=None) == (pytest.approx(100.0), False, pytest.approx(100.0))


@given(LOGPROB, LOGPROB, st.floats(-5, 5), st.floats(0.01, 0.9), st.floats(0.01, 0.9), st.floats(1.0, 10.0))
def test_clipping_never_makes_the_loss_smaller_and_the_dual_clip_never_larger(
    new: float, old: float, advantage: float, low: float, high: float, dual: float
) -> None:
    p, q, a = (torch.tensor([x], dtype=torch.float64) for x in (new, old, advantage))
    plain = (-a * (p - q).exp()).item()
    single = clipped_policy_loss(p - q, a, low, high, None).loss.item()
    both = clipped_policy_loss(p - q, a, low, high, dual).loss.item()
    assert single >= plain
    assert both <= single
    if advantage >= 0:
        assert both == single
    else:
        assert both <= -dual * advantage


@given(LOGPROB, LOGPROB, st.floats(-5, 5))
def test_a_clipped_token_has_no_gradient_and_another_one_has(new: float, old: float, advantage: float) -> None:
    p = torch.tensor([new], dtype=torch.float64, requires_grad=True)
    q, a = torch.tensor([old], dtype=torch.float64), torch.tensor([advantage], dtype=torch.float64)
    found = clipped_policy_loss(p - q, a, 0.2, 0.3, 3.0)
    (gradient,) = torch.autograd.grad(found.loss.sum(), p)
    expected = 0.0 if found.clipped.item() else -advantage * math.exp(new - old)
    assert gradient.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        (0.0, 0.0),
        (0.5, math.exp(0.5) - 1.5),
        (-0.5, math.exp(-0.5) - 0.5),
        (math.log(2.0), 1.0 - math.log(2.0)),
        (-3.0, math.exp(-3.0) + 2.0),
        (5.0, 10.0),  # e^5 - 6 = 142 is clamped
        (-12.0, 10.0),  # e^-12 + 11 too
        (400.0, 10.0),  # whose exponential is infinite
    ],
)
def test_k3_is_exp_d_minus_d_minus_1_within_its_clamp(difference: float, expected: float) -> None:
    found = k3_divergence(torch.tensor([-1.0]), torch.tensor([-1.0 + difference]), clamp=10.0)
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_k3_has_the_gradient_of_its_formula_and_none_beyond_the_clamp() -> None:
    logprobs = torch.tensor([-1.0, -1.0, -1.0, -401.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([-0.5, -1.5, 9.0, -1.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(k3_divergence(logprobs, reference, 10.0).sum(), logprobs)
    # d/dp (e^(r - p) - (r - p) - 1) = 1 - e^(r - p)
    assert gradient.tolist() == pytest.approx([1 - math.exp(0.5), 1 - math.exp(-0.5), 0.0, 0.0])


@given(LOGPROB, LOGPROB, st.floats(0.1, 20.0))
def test_k3_is_never_negative_nor_above_its_clamp(p: float, reference: float, clamp: float) -> None:
    found = k3_divergence(torch.tensor([p], dtype=torch.float64), torch.tensor([reference], dtype=torch.float64), clamp)
    assert -1e-15 <= found.item() <= clamp


def test_k3_averaged_over_samples_of_the_policy_is_the_divergence() -> None:
    policy_p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    reference = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    exact = (policy_p * (policy_p / reference).log()).sum()
    assert (policy_p * k3_divergence(policy_p.log(), reference.log(), 10.0)).sum() == pytest.approx(exact.item())


@pytest.mark.parametrize(
    ("old", "rollout", "expected"),
    [(-1.0, -1.0, 1.0), (-1.0, -1.5, math.exp(0.5)), (-1.5, -1.0, math.exp(-0.5)), (-1.0, -9.0, 2.0)],
)
def test_importance_is_the_ratio_of_probabilities_truncated_at_the_cap(
    old: float, rollout: float, expected: float
) -> None:
    policy_logprobs = torch.tensor([old], requires_grad=True)
    found = truncated_importance(policy_logprobs, torch.tensor([rollout]), cap=2.0)
    assert found.item() == pytest.approx(expected)
    assert not found.requires_grad


def test_importance_without_a_cap_is_one() -> None:
    assert truncated_importance(torch.tensor([-1.0, -2.0]), torch.tensor([-9.0, 0.0]), None).tolist() == [1.0, 1.0]


def test_aggregation_weights_of_a_small_batch() -> None:
    lengths = [1, 3, 4]
    assert token_mean(lengths) == pytest.approx([1 / 8] * 3)
    assert sequence_mean(lengths) == pytest.approx([1 / 3, 1 / 9, 1 / 12])
    assert micro_batch_token_mean(lengths, 2) == pytest.approx([1 / 8, 1 / 8, 1 / 8])
    assert micro_batch_token_mean([1, 3, 2], 2) == pytest.approx([1 / 8, 1 / 8, 1 / 4])
    assert constant(lengths, 10) == pytest.approx([1 / 30] * 3)


@given(LENGTHS, st.integers(1, 8))
def test_the_weights_of_every_mean_sum_to_one(lengths: list[int], micro_batch: int) -> None:
    for rule in RULES[:3]:
        weights = token_weights(rule, lengths, micro_batch, 50)
        assert sum(w * n for w, n in zip(weights, lengths, strict=True)) == pytest.approx(1.0)


@given(LENGTHS)
def test_constant_weights_give_the_filled_share_of_the_longest_possible_batch(lengths: list[int]) -> None:
    weights = token_weights("constant", lengths, 1, 50)
    share = sum(w * n for w, n in zip(weights, lengths, strict=True))
    assert share == pytest.approx(sum(lengths) / (50 * len(lengths)))


@given(LENGTHS)
def test_micro_batches_of_everything_and_of_one_are_the_other_two_means(lengths: list[int]) -> None:
    assert micro_batch_token_mean(lengths, len(lengths)) == pytest.approx(token_mean(lengths))
    assert micro_batch_token_mean(lengths, 1) == pytest.approx(sequence_mean(lengths))


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="median"):
        token_weights("median", [1], 1, 1)


def inputs(**columns: Any) -> TokenInputs:
    """Three response tokens."""
    given_columns: dict[str, Tensor | None] = {
        "loss_weight": torch.tensor([0.25, 0.25, 0.5], dtype=torch.float64),
        "advantages": torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64),
        "rollout_logprobs": torch.tensor([-1.2, -0.9, -2.0], dtype=torch.float64),
        "old_logprobs": torch.tensor([-1.1, -1.0, -2.5], dtype=torch.float64),
        "reference_logprobs": torch.tensor([-1.3, -0.8, -2.0], dtype=torch.float64),
        "base_logprobs": None,
    }
    return TokenInputs(**{**given_columns, **columns})


LOGPROBS = torch.tensor([-1.0, -1.05, -2.3], dtype=torch.float64)
ENTROPY = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def test_the_grpo_loss_is_the_weighted_sum_of_its_pieces() -> None:
    loss, sums = grpo_loss(LOGPROBS, ENTROPY, inputs(), GrpoConfig(kl_coefficient=0.1))
    ratios = [math.exp(0.1), math.exp(-0.05), math.exp(0.2)]
    importance = [math.exp(0.1), math.exp(-0.1), math.exp(-0.5)]
    kl = [math.exp(d) - d - 1 for d in (-0.3, 0.25, 0.3)]
    expected = (
        0.25 * (importance[0] * -ratios[0] + 0.1 * kl[0])
        + 0.25 * (importance[1] * ratios[1] + 0.1 * kl[1])
        + 0.5 * (importance[2] * -2 * ratios[2] + 0.1 * kl[2])
    )
    named = dict(zip(STATISTICS, sums.tolist(), strict=True))
    assert loss.item() == pytest.approx(expected)
    assert named["loss"] == pytest.approx(expected)
    assert named["tokens"] == 3
    assert named["kl"] == pytest.approx(sum(kl))
    assert named["entropy"] == pytest.approx(6.0)
    assert named["clipped"] == 0
    assert named["logprob_difference"] == pytest.approx(0.1 + 0.1 + 0.5)
    assert named["rollout_kl"] == pytest.approx(sum(math.exp(d) - d - 1 for d in (0.1, -0.1, -0.5)))
    assert named["importance_outside"] == 0
    assert named["importance"] == pytest.approx(sum(importance))
    assert named["ratio"] == pytest.approx(sum(ratios))


def test_a_token_counts_as_one_that_learner_and_engine_differ_about_from_a_factor_of_two_on_either_side() -> None:
    old = torch.tensor([-1.0, -1.0, -1.0, -1.0])
    rollout = old + torch.tensor([0.69, -0.69, 0.7, -0.7])
    assert differences(old, rollout)["importance_outside"].tolist() == [0, 0, 1, 1]


# What the base model gives the tokens of `inputs`.
BASE_LOGPROBS = torch.tensor([-0.6, -1.25, -2.8], dtype=torch.float64)


def test_the_kl_to_the_base_is_a_term_of_its_own_beside_that_to_the_start() -> None:
    config = GrpoConfig(kl_coefficient=0.1, kl_base_coefficient=0.3)
    start_alone, _ = grpo_loss(LOGPROBS, ENTROPY, inputs(), config)
    both, sums = grpo_loss(LOGPROBS, ENTROPY, inputs(base_logprobs=BASE_LOGPROBS), config)
    # base - policy: 0.4, -0.2, -0.5; exp(d) - d - 1: 0.0918247, 0.0187308, 0.1065307; weights 1/4, 1/4, 1/2.
    assert both.item() - start_alone.item() == pytest.approx(0.3 * 0.0809042, abs=1e-7)
    named = dict(zip(STATISTICS, sums.tolist(), strict=True))
    assert named["kl_base"] == pytest.approx(0.2170861, abs=1e-7)
    assert named["kl"] == pytest.approx(sum(math.exp(d) - d - 1 for d in (-0.3, 0.25, 0.3)))


def test_the_gradient_of_the_kl_to_the_base_is_one_less_the_ratio_of_base_to_policy() -> None:
    logprobs = LOGPROBS.clone().requires_grad_()
    nothing = {"advantages": torch.zeros(3, dtype=torch.float64), "reference_logprobs": None}
    config = GrpoConfig(kl_coefficient=0.0, kl_base_coefficient=0.3)
    loss, _ = grpo_loss(logprobs, ENTROPY, inputs(base_logprobs=BASE_LOGPROBS, **nothing), config)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    expected = [0.3 * w * (1 - math.exp(d)) for w, d in ((0.25, 0.4), (0.25, -0.2), (0.5, -0.5))]
    assert gradient.tolist() == pytest.approx(expected)


def test_without_old_logprobs_the_ratio_is_one_and_the_gradient_is_that_of_reinforce() -> None:
    logprobs = LOGPROBS.clone().requires_grad_()
    plain = GrpoConfig(kl_coefficient=0.0, importance_cap=None)
    loss, sums = grpo_loss(logprobs, ENTROPY, inputs(old_logprobs=None, reference_logprobs=None), plain)
    (gradient,) = torch.autograd.grad(loss, logprobs)
    assert gradient.tolist() == pytest.approx([-0.25, 0.25, -1.0])
    assert dict(zip(STATISTICS, sums.tolist(), strict=True))["ratio"] == pytest.approx(3.0)


def test_the_gradient_of_the_grpo_loss_equals_finite_differences() -> None:
    config = GrpoConfig(kl_coefficient=0.3, kl_base_coefficient=0.2)

    def loss(logprobs: Tensor) -> Tensor:
        return grpo_loss(logprobs, ENTROPY, inputs(base_logprobs=BASE_LOGPROBS), config)[0]

    torch.autograd.gradcheck(loss, LOGPROBS.clone().requires_grad_())


def test_a_sequence_that_does_not_train_adds_no_gradient_and_is_still_measured() -> None:
    logprobs = LOGPROBS.clone().requires_grad_()
    weight = torch.tensor([0.25, 0.0, 0.5], dtype=torch.float64)
    loss, sums = grpo_loss(logprobs, ENTROPY, inputs(loss_weight=weight), GrpoConfig())
    (gradient,) = torch.autograd.grad(loss, logprobs)
    assert gradient[1] == 0
    assert gradient[0] != 0
    assert dict(zip(STATISTICS, sums.tolist(), strict=True))["tokens"] == 3


def test_the_loss_of_fine_tuning_is_the_weighted_cross_entropy_of_the_completion() -> None:
    logprobs = LOGPROBS.clone().requires_grad_()
    loss, sums = sft_loss(logprobs, ENTROPY, inputs())
    (gradient,) = torch.autograd.grad(loss, logprobs)
    assert loss.item() == pytest.approx(0.25 * 1.0 + 0.25 * 1.05 + 0.5 * 2.3)
    assert gradient.tolist() == [-0.25, -0.25, -0.5]
    named = dict(zip(STATISTICS, sums.tolist(), strict=True))
    assert (named.pop("loss"), named.pop("tokens"), named.pop("entropy")) == (pytest.approx(loss.item()), 3, 6)
    assert set(named.values()) == {0.0}
