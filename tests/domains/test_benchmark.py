"""A benchmark that is computed: its first problems of each level, which are found once."""

from __future__ import annotations

from collections.abc import Iterator

from rzero_mega.domains.benchmark import BuiltIn
from rzero_mega.domains.problem import Problem


def test_problems_are_computed_once_whatever_part_of_them_is_asked_for() -> None:
    computed = []

    def problems() -> Iterator[Problem]:
        computed.append(1)
        for level in ("1", "1", "2"):
            yield Problem(f"a question of level {level}", ("3",), level)

    benchmark = BuiltIn("mathematics", "other", 2, problems)
    assert computed == [], "not before somebody asks"
    assert [problem.level for problem in benchmark.some(1)] == ["1", "2"]
    assert [problem.level for problem in benchmark.some(2)] == ["1", "1", "2"]
    assert computed == [1]
