"""Answers compared two by two: who meets whom, what wins, and what the order of two answers does to verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.comparisons import (
    HALF,
    OrderEffects,
    TwoAnswers,
    Verdicts,
    comparisons,
    win_shares,
    won,
)
from rzero_mega.coevolution.critic_measures import NO_BIAS, Drift, MeasuredCritic

ANSWERED = st.lists(st.tuples(st.sampled_from(["p", "q"]), st.sampled_from("abcdefgh")), max_size=20)
OPPONENTS = st.integers(1, 5).map(lambda half: 2 * half)
VERDICTS = st.tuples(*[st.sampled_from([True, False, None])] * 2)
BOTH = st.lists(VERDICTS, max_size=30)


@given(ANSWERED, OPPONENTS)
def test_each_answer_meets_as_many_different_others_to_its_question_or_all_there_are(
    answered: list[tuple[str, str]], opponents: int
) -> None:
    found = comparisons(answered, opponents)
    met = Counter((pair.question, answer) for pair in found for answer in (pair.one, pair.other))
    for question, answer in set(answered):
        others = {a for q, a in answered if q == question} - {answer}
        assert met[question, answer] == min(opponents, len(others))
    assert set(met) <= set(answered) and all(pair.one != pair.other for pair in found)
    assert len({(pair.question, frozenset((pair.one, pair.other))) for pair in found}) == len(found), "each pair once"


@given(ANSWERED, OPPONENTS, st.randoms(use_true_random=False))
def test_who_meets_whom_follows_from_which_answers_there_are(
    answered: list[tuple[str, str]], opponents: int, order: Random
) -> None:
    again = order.sample(answered, len(answered)) + order.choices(answered, k=3) if answered else []
    assert set(comparisons(again, opponents)) == set(comparisons(answered, opponents))


def test_each_two_answers_stand_in_both_orders() -> None:
    assert TwoAnswers("q", "a", "b").orders == (("a", "b"), ("b", "a"))


@pytest.mark.parametrize(
    ("verdicts", "share"),
    [
        ((True, False), 1.0),
        ((False, True), 0.0),
        ((True, True), HALF),
        ((False, False), HALF),
        ((True, None), HALF),
        ((None, True), HALF),
        ((None, None), HALF),
    ],
)
def test_a_comparison_is_won_where_both_orders_name_the_answer(verdicts: Verdicts, share: float) -> None:
    assert won(verdicts) == share
    assert won((verdicts[1], verdicts[0])) == 1.0 - share, "what the other has of it"


@given(ANSWERED, OPPONENTS, st.data())
def test_shares_are_one_half_on_average_whatever_the_verdicts_and_equal_for_equal_answers(
    answered: list[tuple[str, str]], opponents: int, data: st.DataObject
) -> None:
    compared = comparisons(answered, opponents)
    wins = [won(data.draw(VERDICTS)) for _ in compared]
    shares = dict(zip(answered, win_shares(answered, compared, wins), strict=True))
    assert win_shares(answered, compared, wins) == [shares[one] for one in answered]
    assert all(0.0 <= share <= 1.0 for share in shares.values())
    for question in {question for question, _ in answered}:
        own = [share for (q, _), share in shares.items() if q == question]
        assert sum(own) == pytest.approx(HALF * len(own))


@given(ANSWERED, OPPONENTS)
def test_who_is_better_than_all_wins_all_and_who_meets_nobody_has_half(
    answered: list[tuple[str, str]], opponents: int
) -> None:
    compared = comparisons(answered, opponents)
    wins = [float(pair.one < pair.other) for pair in compared]
    for (question, answer), share in zip(answered, win_shares(answered, compared, wins), strict=True):
        others = {a for q, a in answered if q == question} - {answer}
        if not others:
            assert share == HALF
        elif answer < min(others):
            assert share == 1.0
        elif answer > max(others):
            assert share == 0.0


@given(BOTH)
def test_what_order_does_is_told_in_shares_that_come_back_from_a_summary(verdicts: list[Verdicts]) -> None:
    found = OrderEffects.of(verdicts)
    assert found.comparisons == len(verdicts) and OrderEffects.from_json(found.as_json()) == found
    swapped = OrderEffects.of([(second, first) for first, second in verdicts])
    assert swapped == found, "which of the answers is the one does not matter"
    if verdicts:
        assert found.agreement is not None and found.unread is not None
        assert 0.0 <= found.agreement <= 1.0 - found.unread / 2


def test_who_names_the_first_always_is_told_from_who_knows_and_who_says_nothing() -> None:
    assert astuple(OrderEffects.of([(True, True)] * 4)) == (4, 1.0, 0.0, 0.0)
    assert astuple(OrderEffects.of([(True, False), (False, True)])) == (2, 0.5, 1.0, 0.0)
    assert astuple(OrderEffects.of([(None, None)])) == (1, None, 0.0, 1.0)
    assert astuple(OrderEffects.of([])) == (0, None, None, None)


@pytest.mark.parametrize("damage", [{"position_bias": 1.5}, {"comparisons": -1}, {"comparisons": 1.0}])
def test_damaged_shares_are_refused(damage: dict[str, float]) -> None:
    with pytest.raises((TypeError, ValueError)):
        OrderEffects.from_json({**OrderEffects.of([(True, True)]).as_json(), **damage})


def test_a_summary_tells_of_order_where_there_are_verdicts_alone_and_of_no_shift_there() -> None:
    scalar = MeasuredCritic({}, 0.6, NO_BIAS, Drift.of([0.0, 1.0], [1.0, 2.0]))
    assert "order" not in scalar.as_json() and MeasuredCritic.from_json(scalar.as_json()) == scalar
    drift = Drift.of_shares([0.0, 0.5, 1.0], [0.0, 1.0, 0.5])
    assert drift.correlation == pytest.approx(0.5) and drift.shift is None
    written = MeasuredCritic({}, 0.6, NO_BIAS, drift, order=OrderEffects.of([(True, None)]))
    assert MeasuredCritic.from_json(written.as_json()) == written
