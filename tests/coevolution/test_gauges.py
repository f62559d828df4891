"""Gauges of known answers, against what is counted by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.gauges import GaugeAnswers, Gauges, fixed_set, gauges_of
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import CurationConfig

BAND = CurationConfig(low=0.5, high=0.75)
SURE = GaugeAnswers((0, 0, 0, 0), greedy=0, base=0, truth=0)
LEFT_THE_BASE = GaugeAnswers((1, 1, 1, 0), greedy=1, base=0, truth=0)
SPLIT = GaugeAnswers((2, 0, 2, None), greedy=None, base=2, truth=None)
SILENT = GaugeAnswers((None,) * 4, greedy=None, base=None, truth=3)


def labelled(text: str) -> LabelledQuestion:
    vote = Vote("7", 1, 1, 1, (("7", 1),))
    return LabelledQuestion(AnsweredQuestion(WrittenQuestion(text, None), vote, ("7",), 1), None, None, None)


def test_gauges_of_known_answers() -> None:
    found = gauges_of([SURE, LEFT_THE_BASE, SPLIT, SILENT], BAND)
    # In the band of p̂ lie the second, with 3 of 4, and the third, with 2 of 4.
    assert (found.questions, found.in_band) == (4, 2)
    assert (found.agreement, found.agreement_in_band) == (pytest.approx(2 / 3), 0.5)
    # The third has a majority and no greedy answer; the last has neither.
    assert found.greedy_agreement == pytest.approx(2 / 3)
    assert found.p_hat == pytest.approx((1 + 0.75 + 0.5 + 0) / 4)
    quarter_and_rest = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    half_and_quarters = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25))
    assert found.entropy == pytest.approx((quarter_and_rest + half_and_quarters) / 4)
    assert (found.vote_accuracy, found.vote_accuracy_in_band) == (pytest.approx(1 / 3), 0.0)
    assert found.greedy_accuracy == pytest.approx(1 / 3)


def test_who_was_not_asked_greedily_has_no_greedy_gauge() -> None:
    found = gauges_of([SURE, SPLIT], BAND, greedy=False)
    assert found.greedy_agreement is None and found.greedy_accuracy is None and found.agreement == 1.0


def test_what_nothing_tells_is_none() -> None:
    nothing = gauges_of([], BAND)
    assert nothing == Gauges(0, 0, *(None,) * 5)
    assert gauges_of([SURE], BAND).agreement_in_band is None


def test_the_ends_of_the_band_are_in_it_as_in_curation() -> None:
    # 3 of 10 is 0.3 as it is written, and above the nearest binary fraction of it.
    three_of_ten = GaugeAnswers((0,) * 3 + tuple(range(1, 8)), greedy=0, base=0, truth=None)
    assert gauges_of([three_of_ten], CurationConfig(low=0.3, high=0.3)).in_band == 1


def test_the_fixed_set_is_of_first_questions_that_differ() -> None:
    asked = [labelled(text) for text in ("1+2", " 1+2\n", "3+4", "5+6")]
    assert fixed_set(asked, 2) == [asked[0], asked[2]]
    assert fixed_set(asked, 9) == [asked[0], asked[2], asked[3]]
    assert fixed_set(asked, 0) == []


CLASSES = st.one_of(st.none(), st.integers(0, 2))


@given(st.lists(st.builds(GaugeAnswers, st.tuples(CLASSES, CLASSES, CLASSES), CLASSES, CLASSES, CLASSES), max_size=6))
def test_shares_stay_shares_and_a_summary_holds_what_it_was_written_from(answers: list[GaugeAnswers]) -> None:
    found = gauges_of(answers, BAND)
    row = found.as_json()
    assert Gauges.from_json(row) == found
    shares = [value for name, value in row.items() if name not in ("questions", "in_band", "entropy")]
    assert all(value is None or 0 <= value <= 1 for value in shares)
    assert found.entropy is None or 0 <= found.entropy <= math.log(3) + 1e-9


@pytest.mark.parametrize("damage", [{"agreement": 1.5}, {"questions": -1}, {"entropy": "low"}, {"in_band": True}])
def test_figures_that_can_not_be_are_refused(damage: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Gauges.from_json({**gauges_of([SURE], BAND).as_json(), **damage})
