"""The trained Solver's answers over the base model's, on questions that the Solver was not trained on (J-Zero)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rzero_mega.coevolution.critic_pairs import RankedPair, paired

KIND = "solver_over_base"


def solver_over_base(
    solver: Mapping[str, Sequence[str | None]], base: Mapping[str, Sequence[str | None]]
) -> list[RankedPair]:
    """As many pairs of different answers to each question as both have, in their order; by question."""
    return paired(KIND, solver, base)
