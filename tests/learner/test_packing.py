from __future__ import annotations

import random
from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.errors import UserError
from rzero_mega.learner.packing import TOKENS, MicroBatchPlan, check_longest_sequence, plan_micro_batches
from rzero_mega.planning.flops import SequenceCost
from rzero_mega.weights.shape import ModelShape, shape_of

BUDGET = 64
LENGTHS = st.lists(st.integers(1, BUDGET), max_size=40)
RANKS = st.integers(1, 5)
MULTIPLE = st.integers(1, 4)
COST = SequenceCost(linear=3, quadratic=1)


def costs(plan: MicroBatchPlan, lengths: list[int], cost: SequenceCost) -> list[list[int]]:
    """By rank, the cost of each of its micro-batches."""
    return [[sum(cost(lengths[i]) for i in micro_batch) for micro_batch in micro_batches] for micro_batches in plan]


def spread(values: list[int]) -> int:
    return max(values) - min(values)


@given(LENGTHS, RANKS, MULTIPLE)
def test_every_sequence_is_in_one_micro_batch_and_none_exceeds_the_budget(
    lengths: list[int], dp: int, multiple: int
) -> None:
    micro_batches = list(chain.from_iterable(plan_micro_batches(lengths, BUDGET, dp, COST, multiple)))
    assert sorted(chain.from_iterable(micro_batches)) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in micro_batch) <= BUDGET for micro_batch in micro_batches)


@given(LENGTHS, RANKS, MULTIPLE)
def test_every_rank_has_as_many_micro_batches_as_the_others_and_a_multiple_of_what_is_asked(
    lengths: list[int], dp: int, multiple: int
) -> None:
    plan = plan_micro_batches(lengths, BUDGET, dp, COST, multiple)
    assert len(plan) == dp
    assert len({len(micro_batches) for micro_batches in plan}) == 1
    assert len(plan[0]) >= 1 and len(plan[0]) % multiple == 0


@given(LENGTHS, RANKS, MULTIPLE)
def test_micro_batches_are_empty_only_where_there_are_fewer_sequences(
    lengths: list[int], dp: int, multiple: int
) -> None:
    micro_batches = list(chain.from_iterable(plan_micro_batches(lengths, BUDGET, dp, COST, multiple)))
    assert sum(not micro_batch for micro_batch in micro_batches) == max(0, len(micro_batches) - len(lengths))


@given(LENGTHS, RANKS)
def test_the_plan_depends_on_its_arguments_alone(lengths: list[int], dp: int) -> None:
    assert plan_micro_batches(lengths, BUDGET, dp, COST) == plan_micro_batches(tuple(lengths), BUDGET, dp, COST)


@given(LENGTHS)
def test_no_more_than_twice_the_smallest_possible_number_of_micro_batches(lengths: list[int]) -> None:
    (micro_batches,) = plan_micro_batches(lengths, BUDGET, 1, COST)
    assert len(micro_batches) <= max(1, 2 * -(-sum(lengths) // BUDGET))


@given(LENGTHS, RANKS, MULTIPLE)
def test_costs_fall_along_a_rank_and_ranks_differ_by_no_more_than_the_micro_batches_of_one_place(
    lengths: list[int], dp: int, multiple: int
) -> None:
    by_rank = costs(plan_micro_batches(lengths, BUDGET, dp, COST, multiple), lengths, COST)
    places = list(zip(*by_rank, strict=True))
    assert all(min(one) >= max(after) for one, after in pairwise(places))
    assert spread([sum(of_rank) for of_rank in by_rank]) <= max(spread(list(place)) for place in places)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), RANKS, MULTIPLE)
def test_no_micro_batch_costs_twice_the_lower_bound_where_the_budget_leaves_room(
    lengths: list[int], dp: int, multiple: int
) -> None:
    plan = plan_micro_batches(lengths, sum(lengths), dp, COST, multiple)
    found = list(chain.from_iterable(costs(plan, lengths, COST)))
    # No plan has a smaller maximum than the mean, nor than its dearest sequence.
    bound = max(sum(found) / len(found), max(COST(n) for n in lengths))
    assert max(found) < 2 * bound or len(found) == 1


def rollout_lengths(seed: int) -> list[int]:
    """An update of the paper's preset: 128 prompts of about 150 tokens, responses of a long tail, cut off at 4,096."""
    draw = random.Random(seed)
    prompts = [round(draw.lognormvariate(5.0, 0.3)) for _ in range(128)]
    return [prompt + min(4096, max(1, round(draw.lognormvariate(6.5, 0.8)))) for prompt in prompts]


QWEN3_8B = SequenceCost(linear=15_136_194_560, quadratic=294_912)


def over_mean(values: list[int]) -> float:
    return max(values) * len(values) / sum(values)


@pytest.mark.parametrize("dp", [1, 4, 8])
@pytest.mark.parametrize("balanced", [TOKENS, SequenceCost(linear=0, quadratic=0)], ids=["tokens", "sequences"])
def test_costs_are_at_least_as_even_as_when_tokens_or_sequences_are_balanced(dp: int, balanced: SequenceCost) -> None:
    compared = 0
    for seed in range(10):
        lengths = rollout_lengths(seed)
        ours = costs(plan_micro_batches(lengths, 16384, dp, QWEN3_8B), lengths, QWEN3_8B)
        other = costs(plan_micro_batches(lengths, 16384, dp, balanced), lengths, QWEN3_8B)
        assert over_mean([sum(rank) for rank in ours]) < 1.03
        if len(ours[0]) == len(other[0]):
            compared += 1
            assert over_mean(list(chain.from_iterable(ours))) <= over_mean(list(chain.from_iterable(other)))
    assert compared


def test_attention_makes_one_long_sequence_as_expensive_as_many_short_ones() -> None:
    lengths = [40, 20, 20, 20, 20]
    assert plan_micro_batches(lengths, 90, 2) == [[[0, 3]], [[1, 2, 4]]]
    assert plan_micro_batches(lengths, 90, 2, SequenceCost(linear=0, quadratic=1)) == [[[0]], [[1, 2, 3, 4]]]


def test_a_rank_without_sequences_gets_an_empty_micro_batch() -> None:
    assert plan_micro_batches([5], BUDGET, 3) == [[[0]], [[]], [[]]]
    assert plan_micro_batches([], BUDGET, 2) == [[[]], [[]]]


def test_a_sequence_longer_than_the_budget_is_named_with_the_key_to_change() -> None:
    with pytest.raises(UserError, match=r"learner\.tokens_per_micro_batch: a sequence of 65 tokens .* 64"):
        plan_micro_batches([3, BUDGET + 1], BUDGET, 1)
    assert plan_micro_batches([BUDGET], BUDGET, 1) == [[[0]]]


def test_the_longest_possible_sequence_must_fit_before_anything_is_trained() -> None:
    check_longest_sequence(100, 28, 128, "solver.training.sampling.max_new_tokens")
    with pytest.raises(UserError) as caught:
        check_longest_sequence(101, 28, 128, "solver.training.sampling.max_new_tokens")
    assert str(caught.value).startswith("learner.tokens_per_micro_batch: 128 tokens do not hold")
    assert "101 and 28 of solver.training.sampling.max_new_tokens; set it to at least 129" in str(caught.value)
    check_longest_sequence(100, 28, 128, "x", sequence_multiple=4)
    with pytest.raises(UserError, match="at least 132"):
        check_longest_sequence(100, 29, 130, "x", sequence_multiple=4)


def model_shape(model_type: str, **keys: int) -> ModelShape:
    from transformers import AutoConfig

    return shape_of(AutoConfig.for_model(model_type, num_hidden_layers=3, vocab_size=211, **keys))


EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}


@pytest.mark.parametrize(
    "shape",
    [
        model_shape(
            "qwen3", hidden_size=32, intermediate_size=48, num_attention_heads=4, num_key_value_heads=2, head_dim=16
        ),
        model_shape(
            "qwen3_moe", hidden_size=32, moe_intermediate_size=24, num_experts=8, num_experts_per_tok=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        ),
    ],
    ids=lambda shape: shape.family,
)  # fmt: skip
def test_the_cost_is_what_torch_counts_in_the_model_itself(shape: ModelShape) -> None:
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForCausalLM

    keys: dict[str, int] = dict(
        hidden_size=shape.hidden, intermediate_size=shape.ffn, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim, num_hidden_layers=3, vocab_size=211,
    )  # fmt: skip
    if shape.experts:
        keys |= dict(moe_intermediate_size=shape.expert_ffn, num_experts=shape.experts)
        keys |= dict(num_experts_per_tok=shape.experts_per_token)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(shape.family, **keys), **EAGER)
    cost, length = SequenceCost.of(shape), 40
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.arange(length)[None])
    # Eager attention computes the whole square, of which causality needs half; the tables of positions are not counted.
    counted = counter.get_total_flops() - cost.quadratic * length * length
    assert cost(length) == pytest.approx(counted, rel=0.01), counted
