"""Answers put together from the Solver's answers to parts of a question over those that it gives at once (J-Zero)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rzero_mega.coevolution.critic_pairs import RankedPair, paired

KIND = "recombined_over_one_shot"


def recombined_over_one_shot(
    recombined: Mapping[str, Sequence[str | None]], at_once: Mapping[str, Sequence[str | None]]
) -> list[RankedPair]:
    """As many pairs of different answers to each question as both have, in their order; by question."""
    return paired(KIND, recombined, at_once)
