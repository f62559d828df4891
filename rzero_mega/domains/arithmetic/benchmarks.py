"""The benchmarks of arithmetic: fixed sets of held-out problems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from rzero_mega.domains.arithmetic.clock import held_out_clock_set, parse_clock
from rzero_mega.domains.arithmetic.expressions import (
    FURTHER_PROBLEMS,
    ArithmeticProblem,
    further_held_out_set,
    held_out_set,
)
from rzero_mega.domains.benchmark import BuiltIn, Protocol
from rzero_mega.domains.problem import Problem

_GREEDY = Protocol(max_new_tokens=256)


def _problems(of: Callable[[], Iterable[ArithmeticProblem]]) -> Callable[[], Iterator[Problem]]:
    return lambda: (Problem(found.expression, (found.answer,), str(found.level)) for found in of())


def _on_a_clock(question: str) -> bool:
    return parse_clock("".join(question.split())) is not None


BENCHMARKS = {
    "arithmetic": BuiltIn("mathematics", "mathematics", 100, _problems(held_out_set)),
    "clock": BuiltIn("mathematics", "transfer", 84, _problems(held_out_clock_set), in_family=_on_a_clock),
    # To tell a point of greedy accuracy. It is no mathematics of its own: that average has `arithmetic` in it.
    "arithmetic_2500": BuiltIn(
        "mathematics", "other", max(FURTHER_PROBLEMS.values()), _problems(further_held_out_set), _GREEDY
    ),
}
