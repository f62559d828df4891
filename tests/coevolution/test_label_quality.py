"""Measures of labels by the truth, against what is counted by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.label_quality import LabelQuality, label_quality
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import SourceVotes, Vote


def labelled(
    count: int, samples: int = 10, kept: bool = True, by_source: tuple[SourceVotes, ...] = ()
) -> LabelledQuestion:
    vote = Vote("7", count, samples, samples, (("7", count),), by_source=by_source)
    answered = AnsweredQuestion(WrittenQuestion("3+4", None), vote, ("7",) * samples, tokens=samples)
    return LabelledQuestion(answered, None if kept else "above_band", "7", None)


def test_a_label_weighs_what_the_solver_can_learn_from_it() -> None:
    # 4 p (1 - p): 1 at 5 of 10, 0.36 at 9 of 10, 0 where all agree; dropped questions teach nothing.
    judged = [(labelled(5), True), (labelled(9), False), (labelled(10), False), (labelled(5, kept=False), False)]
    assert label_quality(judged).signal_weighted_accuracy == pytest.approx(1 / 1.36)


def test_in_a_panel_the_weight_is_on_the_solvers_own_votes() -> None:
    own_none = (SourceVotes("solver", 0, 5), SourceVotes("base", 5, 5))
    own_some = (SourceVotes("solver", 2, 5), SourceVotes("base", 5, 5))
    others_alone = (SourceVotes("base", 5, 10),)
    judged = [
        (labelled(5, by_source=own_none), False),
        (labelled(7, by_source=own_some), True),
        (labelled(5, by_source=others_alone), False),
    ]
    # A label that the Solver never gives, and one that it has had no vote on, have no signal that could be weighed.
    assert label_quality(judged).signal_weighted_accuracy == 1.0


def test_corrections_are_counted_against_corruptions() -> None:
    greedy = [(True, False)] * 5 + [(False, True)] * 2 + [(True, True)] * 12 + [(False, False)] * 6
    quality = label_quality([], greedy)
    assert (quality.compared, quality.corrections, quality.corruptions) == (25, 5, 2)
    assert quality.net_corrections == 12.0


def test_p_hat_of_wrong_labels_is_over_kept_and_dropped_ones() -> None:
    judged = [(labelled(2, kept=False), False), (labelled(6), False), (labelled(9), True)]
    assert label_quality(judged).p_hat_wrong == pytest.approx(0.4)


def test_what_nothing_tells_is_none() -> None:
    assert label_quality([]) == LabelQuality() and LabelQuality().net_corrections is None
    assert label_quality([(labelled(10), True)]).signal_weighted_accuracy is None


@given(st.lists(st.tuples(st.integers(1, 10), st.booleans(), st.booleans()), max_size=8))
def test_a_summary_holds_what_it_was_written_from(found: list[tuple[int, bool, bool]]) -> None:
    judged = [(labelled(count, kept=kept), right) for count, kept, right in found]
    quality = label_quality(judged, [(right, kept) for _, right, kept in found])
    assert LabelQuality.from_json(quality.as_json()) == quality


def test_figures_that_can_not_be_are_refused() -> None:
    row = LabelQuality(0.5, 0.2, 10, 2, 1).as_json()
    for damage in ({"p_hat_wrong": 1.5}, {"compared": -1}, {"corrections": "2"}):
        with pytest.raises((TypeError, ValueError)):
            LabelQuality.from_json({**row, **damage})
