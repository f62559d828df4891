"""The trained Solver's answers over the base model's, on questions that the Solver was not trained on (J-Zero)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rzero_mega.coevolution.critic_pairs import RankedPair

KIND = "solver_over_base"


def solver_over_base(
    solver: Mapping[str, Sequence[str | None]], base: Mapping[str, Sequence[str | None]]
) -> list[RankedPair]:
    """As many pairs of different answers to each question as both have, in their order; by question."""
    return [
        RankedPair(KIND, question, better, worse)
        for question, answers in solver.items()
        for better, worse in zip(_different(answers), _different(base.get(question, ())), strict=False)
        if better != worse
    ]


def _different(answers: Sequence[str | None]) -> list[str]:
    return list(dict.fromkeys(answer for answer in answers if answer is not None))
