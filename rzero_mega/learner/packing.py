"""Which sequences share a micro-batch, and which data-parallel rank computes it: planned from lengths alone."""

from __future__ import annotations

from collections.abc import Sequence

from rzero_mega.errors import UserError
from rzero_mega.planning.flops import SequenceCost

MicroBatchPlan = list[list[list[int]]]


TOKENS = SequenceCost(linear=1, quadratic=0)


def plan_micro_batches(
    lengths: Sequence[int], token_budget: int, dp: int, cost: SequenceCost = TOKENS, multiple_of: int = 1
) -> MicroBatchPlan:
    """Indices of the sequences of every micro-batch, by data-parallel rank: [dp][micro-batch][sequence].

    `lengths` are tokens as they will lie in the micro-batch. Micro-batches are nearly equal in cost and hold
    `token_budget` tokens at most. Every rank gets the same number of them, a multiple of `multiple_of` (interleaved
    pipelines need one of their stages), from the most to the least expensive: the ranks' micro-batches of one place are
    alike, and so are neighbours in a pipeline. Some are empty where there are fewer sequences than micro-batches. The
    plan depends on the arguments alone. UserError if a single sequence exceeds the budget.
    """
    longest = max(lengths, default=0)
    if longest > token_budget:
        raise UserError(
            f"learner.tokens_per_micro_batch: a sequence of {longest} tokens exceeds the budget of {token_budget}"
        )
    smallest = max(1, -(-sum(lengths) // (token_budget * dp)))
    per_rank = smallest + -smallest % multiple_of
    while True:
        # Under a tight budget equal costs may not fit, or not be equal any more, where equal token counts do.
        filled = [_fill(lengths, token_budget, per_rank * dp, measure) for measure in (cost, TOKENS)]
        choices = [(bins, [sum(cost(lengths[i]) for i in indices) for indices in bins]) for bins in filled if bins]
        if choices:
            return _deal(*min(choices, key=lambda choice: max(choice[1])), dp)
        per_rank += multiple_of


def longest_prompt(max_new_tokens: int, token_budget: int, sequence_multiple: int = 1) -> int:
    """Tokens of the longest prompt that fits into a micro-batch beside a response of `max_new_tokens`; 0 if none."""
    return max(0, token_budget // sequence_multiple * sequence_multiple - max_new_tokens)


def check_longest_sequence(
    tokens: int, max_new_tokens: int, token_budget: int, key: str, sequence_multiple: int = 1
) -> None:
    """UserError if a prompt of so many tokens and a response of `max_new_tokens` (`key`) can exceed the budget.

    Sequences are filled up to `sequence_multiple`. Called before training starts, so that a step never meets a sequence
    it can't hold.
    """
    longest = tokens + max_new_tokens
    longest += -longest % sequence_multiple
    if tokens > longest_prompt(max_new_tokens, token_budget, sequence_multiple):
        raise UserError(
            f"learner.tokens_per_micro_batch: {token_budget} tokens do not hold the longest possible sequence, a "
            f"prompt of {tokens} and {max_new_tokens} of {key}; set it to at least {longest} or lower {key}"
        )


def _fill(lengths: Sequence[int], token_budget: int, count: int, measure: SequenceCost) -> list[list[int]] | None:
    """`count` micro-batches: longest sequence first, into the cheapest with room; None if one finds no room."""
    bins: list[list[int]] = [[] for _ in range(count)]
    tokens, costs = [0] * count, [0] * count
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        room = [number for number in range(count) if tokens[number] + lengths[index] <= token_budget]
        if not room:
            return None
        cheapest = min(room, key=lambda number: (costs[number], len(bins[number]), number))
        bins[cheapest].append(index)
        tokens[cheapest] += lengths[index]
        costs[cheapest] += measure(lengths[index])
    return [sorted(indices) for indices in bins]


def _deal(bins: list[list[int]], costs: list[int], dp: int) -> MicroBatchPlan:
    """Give the ranks `dp` micro-batches of like cost at a time, the most expensive to the one that has least so far.

    The ranks' totals then differ by no more than the micro-batches of one such round do.
    """
    order = sorted(range(len(bins)), key=lambda i: (-costs[i], i))
    plan: MicroBatchPlan = [[] for _ in range(dp)]
    totals = [0] * dp
    for start in range(0, len(order), dp):
        ranks = sorted(range(dp), key=lambda rank: (totals[rank], rank))
        for rank, i in zip(ranks, order[start : start + dp], strict=True):
            plan[rank].append(bins[i])
            totals[rank] += costs[i]
    return plan
