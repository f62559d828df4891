"""How the losses of tokens become the loss of one optimizer update.

Each rule gives every response token a weight; the update's loss is the weighted sum over all its tokens. Since the
weights are fixed before anything is packed or spread over ranks, the loss does not depend on the layout.
"""

from __future__ import annotations

from collections.abc import Sequence


def token_mean(lengths: Sequence[int]) -> list[float]:
    """Mean over all response tokens of the update."""
    return [1.0 / max(1, sum(lengths))] * len(lengths)


def sequence_mean(lengths: Sequence[int]) -> list[float]:
    """Mean over sequences of the mean over each one's tokens (GRPO, arXiv 2402.03300)."""
    return [1.0 / (len(lengths) * max(1, n)) for n in lengths]


def micro_batch_token_mean(lengths: Sequence[int], sequences_per_micro_batch: int) -> list[float]:
    """Mean over tokens in each run of `sequences_per_micro_batch` sequences, then mean over these (official R-Zero)."""
    starts = range(0, len(lengths), sequences_per_micro_batch)
    weights = []
    for start in starts:
        group = lengths[start : start + sequences_per_micro_batch]
        weights += [1.0 / (len(starts) * max(1, sum(group)))] * len(group)
    return weights


def constant(lengths: Sequence[int], maximum: int) -> list[float]:
    """Sum over tokens over a constant, sequences x longest possible response (Dr. GRPO, arXiv 2503.20783)."""
    return [1.0 / (len(lengths) * maximum)] * len(lengths)


def token_weights(rule: str, lengths: Sequence[int], sequences_per_micro_batch: int, maximum: int) -> list[float]:
    """Weight of every response token of each sequence under the rule that `grpo.loss_aggregation` names."""
    if rule == "token_mean":
        return token_mean(lengths)
    if rule == "sequence_mean":
        return sequence_mean(lengths)
    if rule == "micro_batch_token_mean":
        return micro_batch_token_mean(lengths, sequences_per_micro_batch)
    if rule == "constant":
        return constant(lengths, maximum)
    raise ValueError(f"unknown loss aggregation {rule!r}")
