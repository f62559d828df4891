"""GradingPool: verdicts in order, workers only where needed, grouping that doesn't depend on order."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from rzero_mega.grading import GradingPool, How, Verdict, equivalent
from tests.grading.answer_corpus import load_corpus

PAIRS = [(pair.a, pair.b) for pair in load_corpus()]
HARD = (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}")


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(workers=2, time_limit_s=20.0, memory_limit_mb=512) as shared:
        yield shared


def partition(classes: list[int | None], answers: list[str | None]) -> set[frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for number, answer in zip(classes, answers, strict=True):
        assert (number is None) == (answer is None)
        if number is not None and answer is not None:
            groups.setdefault(number, set()).add(answer)
    return {frozenset(group) for group in groups.values()}


def test_labelled_pairs_get_the_same_verdicts_as_in_process_and_in_order(pool: GradingPool) -> None:
    in_process = [equivalent(a, b) for a, b in PAIRS]
    verdicts = pool.equivalent_pairs(PAIRS)
    assert [verdict.equal for verdict in verdicts] == in_process
    assert {verdict.how for verdict in verdicts} == {How.TEXT, How.EXACT, How.COMPUTED}
    assert [verdict.equal for verdict in pool.equivalent_pairs([(b, a) for a, b in PAIRS])] == in_process


def test_cheap_pairs_start_no_process() -> None:
    with GradingPool(workers=2, time_limit_s=1.0, memory_limit_mb=64, task="no.such.module:function") as pool:
        pairs = [("1/2", "0.5"), ("1", "2"), ("no", "yes"), (r"\sqrt2", r"\sqrt3"), ("A", "(A)"), ("x", "y")]
        assert [verdict.equal for verdict in pool.equivalent_pairs(pairs)] == [True, False, False, False, True, False]
        assert pool.equivalence_classes([["1", "0.5", "1/2", None]]) == [[0, 1, 1, None]]
        assert pool.stats.symbolic == 0
        assert (pool.stats.graded, pool.stats.cheap) == (6, 6)


def test_equal_work_is_done_once_and_remembered() -> None:
    with GradingPool(workers=1, time_limit_s=20.0, memory_limit_mb=512) as pool:
        assert all(verdict.equal for verdict in pool.equivalent_pairs([HARD, HARD[::-1], HARD]))
        assert (pool.stats.symbolic, pool.stats.cheap) == (1, 0)
        assert pool.equivalent_pairs([HARD]) == [Verdict(True, How.COMPUTED)]
        assert (pool.stats.symbolic, pool.stats.cheap, pool.stats.graded) == (1, 1, 4)


def test_memory_of_verdicts_is_bounded() -> None:
    with GradingPool(workers=1, time_limit_s=20.0, memory_limit_mb=512, remembered=2) as pool:
        pairs = [(rf"\frac{{{n}}}{{\sqrt{{2}}}}", rf"\frac{{{n}\sqrt{{2}}}}{{2}}") for n in (3, 5, 7, 9)]
        assert all(verdict.equal for verdict in pool.equivalent_pairs(pairs))
        assert len(pool._verdicts) == 2


@pytest.mark.parametrize(
    ("fault", "how", "counted"),
    [
        (r"\sqrt{2}\sqrt{3}", How.TIMED_OUT, "timeouts"),
        (r"\sqrt{2}\sqrt{5}", How.OUT_OF_MEMORY, "memory_kills"),
        (r"\sqrt{2}\sqrt{7}", How.CRASHED, "crashes"),
    ],
)
def test_a_pair_that_breaks_a_limit_is_not_equal_and_says_why(fault: str, how: How, counted: str) -> None:
    """These pairs are equal; only what happens to their worker makes the verdict."""
    equals = {3: r"\sqrt6", 5: r"\sqrt{10}", 7: r"\sqrt{14}"}[int(fault[-2])]
    with GradingPool(
        workers=1, time_limit_s=1.0, memory_limit_mb=128, task="tests.grading.grading_faults:by_answer"
    ) as pool:
        verdicts = pool.equivalent_pairs([HARD, (fault, equals), ("1", "1"), HARD])
        assert verdicts == [
            Verdict(True, How.COMPUTED), Verdict(False, how), Verdict(True, How.EXACT), Verdict(True, How.COMPUTED)
        ]  # fmt: skip
        assert getattr(pool.stats, counted) >= 1


def test_grouping_joins_equal_answers_and_leaves_absent_ones_out(pool: GradingPool) -> None:
    answers = ["1/2", None, "0.5", "3", *HARD, r"\text{no solution}", "No solution.", "no real roots", None]
    assert pool.equivalence_classes([answers, [], [None]]) == [[0, None, 0, 1, 2, 2, 3, 3, 4, None], [], [None]]


def test_two_refusals_are_not_one_answer(pool: GradingPool) -> None:
    """The official code merges any two answers that contain "no " (trap 3 of the specification)."""
    assert pool.equivalence_classes([["no solution", "no triangle exists", "there is no limit"]]) == [[0, 1, 2]]


def test_grouping_does_not_depend_on_the_order_of_answers(pool: GradingPool) -> None:
    answers: list[str | None] = [
        "5 cm", "5 mm", "5", "6 mm", "6 cm", "7", "x=7", "14/2", *HARD, "0.7071", "(1,2)", "1,2", r"\{2,1\}", None
    ]  # fmt: skip
    expected = partition(pool.equivalence_classes([answers])[0], answers)
    shuffler = random.Random(0)
    for _ in range(20):
        shuffler.shuffle(answers)
        assert partition(pool.equivalence_classes([answers])[0], answers) == expected


def test_an_ambiguous_answer_joins_none_of_those_it_agrees_with(pool: GradingPool) -> None:
    """ "5" agrees with "5 cm" and with "5 mm", which differ from each other."""
    assert not equivalent("5 cm", "5 mm")
    assert pool.equivalence_classes([["5 cm", "5", "5.0 cm"]]) == [[0, 0, 0]]
    assert pool.equivalence_classes([["5 cm", "5 mm", "5"]]) == [[0, 1, 2]]


def test_a_closed_pool_refuses_work() -> None:
    pool = GradingPool(workers=1, time_limit_s=1.0, memory_limit_mb=64)
    pool.close()
    with pytest.raises(ValueError, match="closed"):
        pool.equivalent_pairs([("1", "1")])


@pytest.mark.parametrize("limits", [(0, 1.0, 64), (1, 0.0, 64), (1, 1.0, 0)])
def test_impossible_limits_are_refused(limits: tuple[int, float, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        GradingPool(*limits)
