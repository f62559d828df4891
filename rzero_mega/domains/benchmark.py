"""Benchmarks that need no data, as a domain brings them, and how answers to a benchmark are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from rzero_mega.domains.problem import Problem


@dataclass(frozen=True)
class Protocol:
    """How an answer is drawn: the paper's way, which a run may override."""

    samples: int = 1
    """Answers per question; the score is their mean."""
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int = 4096


@dataclass(frozen=True)
class BuiltIn:
    """A benchmark that is computed: how responses are read, its group, and all problems in order of level.

    `reading` is the name of the domain whose answers they are, or one of `readings.READINGS`. A level has at most
    `per_level` problems. `in_family` says of a question whether it is of the benchmark's family: where a run measures
    transfer to it, nothing of the family is trained on.
    """

    reading: str
    group: str
    per_level: int
    problems: Callable[[], Iterable[Problem]]
    protocol: Protocol | None = None
    in_family: Callable[[str], bool] | None = None

    @cached_property
    def _all(self) -> tuple[Problem, ...]:
        # Held-out problems are found by drawing many, and every cell of a grid has its benchmarks checked.
        return tuple(self.problems())

    def some(self, per_level: int) -> tuple[Problem, ...]:
        """The first `per_level` problems of each level."""
        seen: Counter[str] = Counter()
        found = []
        for problem in self._all:
            seen[problem.level] += 1
            if seen[problem.level] <= per_level:
                found.append(problem)
        return tuple(found)
