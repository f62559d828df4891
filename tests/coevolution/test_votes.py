from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.uncertainty import UNCERTAINTIES, minimum, tent
from rzero_mega.coevolution.votes import Vote, majority_vote


def vote(*answers: str | None, unanswered: str = "denominator") -> Vote:
    """A vote in which every spelling is a class of its own."""
    numbers: dict[str, int] = {}
    classes = [None if answer is None else numbers.setdefault(answer, len(numbers)) for answer in answers]
    return majority_vote(classes, answers, unanswered)


def test_the_most_frequent_class_wins() -> None:
    assert vote("3", "4", "4", "5") == Vote(
        answer="4", count=2, samples=4, answered=4, tally=(("4", 2), ("3", 1), ("5", 1))
    )
    assert vote("3", "4", "4", "5").share == 0.5


def test_equivalent_spellings_vote_together_under_the_first_of_them() -> None:
    assert majority_vote([0, 1, 1], ["2", "1/2", "0.5"]) == Vote("1/2", 2, 3, 3, (("1/2", 2), ("2", 1)))


def test_trap_1_a_sample_without_an_answer_is_never_a_vote_and_counts_in_the_denominator() -> None:
    half_cut_off = vote(None, None, None, None, None, "7", "7", "7", "8", "9")
    assert half_cut_off == Vote("7", 3, 10, 5, (("7", 3), ("8", 1), ("9", 1)))
    assert half_cut_off.share == 0.3
    assert tent(half_cut_off) == 0.6


def test_trap_1_the_official_behaviour_lets_the_string_none_win() -> None:
    half_cut_off = vote(None, None, None, None, None, "7", "7", "7", "8", "9", unanswered="answer")
    assert half_cut_off == Vote("None", 5, 10, 5, (("None", 5), ("7", 3), ("8", 1), ("9", 1)))
    assert tent(half_cut_off) == 1.0


def test_officially_a_boxed_none_and_no_box_are_the_same_vote() -> None:
    assert vote("None", None, "7", unanswered="answer").count == 2
    assert vote("None", None, "7") == Vote("None", 1, 3, 2, (("None", 1), ("7", 1)))


def test_no_answer_at_all_is_no_label() -> None:
    assert vote(None, None) == Vote(None, 0, 2, 0)
    assert vote(None, None).share == 0.0
    assert tent(vote(None, None)) == minimum(vote(None, None)) == 0.0
    assert vote(None, None, unanswered="answer") == Vote("None", 2, 2, 0, (("None", 2),))


def test_a_tie_goes_to_the_class_seen_first() -> None:
    assert vote("b", "a", "a", "b").answer == "b"
    assert vote("a", "b", "b", "a").answer == "a"
    assert vote(None, "9", "1").answer == "9"


def test_ties_favour_no_answer_over_all_orders_of_the_samples() -> None:
    winners = Counter(vote(*order).answer for order in permutations(["1", "1", "22", "22", "x"]))
    assert winners["1"] == winners["22"] == 60


@pytest.mark.parametrize(
    ("classes", "answers", "unanswered"),
    [([], [], "denominator"), ([0], [], "denominator"), ([0], [None], "denominator"), ([0], ["1"], "drop")],
)
def test_impossible_arguments_are_refused(classes: list[int], answers: list[str | None], unanswered: str) -> None:
    with pytest.raises(ValueError):
        majority_vote(classes, answers, unanswered)


@given(st.lists(st.sampled_from([None, "a", "b", "c"]), min_size=1, max_size=20))
def test_a_vote_is_consistent(answers: list[str | None]) -> None:
    result = vote(*answers)
    counts = Counter(answer for answer in answers if answer is not None)
    assert result.samples == len(answers)
    assert result.answered == counts.total()
    assert result.count == max(counts.values(), default=0)
    assert result.count == (counts[result.answer] if result.answer is not None else 0)
    assert dict(result.tally) == counts
    assert [count for _, count in result.tally] == sorted(counts.values(), reverse=True)
    assert result.tally[:1] == (() if result.answer is None else ((result.answer, result.count),))


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=20),
    st.sets(st.integers(0, 19)),
    st.sampled_from(sorted(UNCERTAINTIES)),
)
def test_cutting_samples_off_never_raises_the_reward_of_doubt_among_answers(
    answers: list[str], cut_off: set[int], form: str
) -> None:
    left = [None if place in cut_off else answer for place, answer in enumerate(answers)]
    assert UNCERTAINTIES[form](vote(*left), False) <= UNCERTAINTIES[form](vote(*answers), False)
    assert UNCERTAINTIES[form](vote(*answers), False) == UNCERTAINTIES[form](vote(*answers), True)


def test_unanswered_counts_as_doubt_in_the_paper_s_share_of_all_samples() -> None:
    sure_when_it_answers = vote(*["7"] * 5, *[None] * 5)
    assert tent(sure_when_it_answers) == 1.0
    assert tent(sure_when_it_answers, unanswered_counts_as_doubt=False) == 0.0
    none_wins = vote(*["7"] * 2, *[None] * 8, unanswered="answer")
    assert tent(none_wins, unanswered_counts_as_doubt=False) == 0.0


@pytest.mark.parametrize(
    ("count", "samples", "expected"),
    [(0, 10, 0), (1, 10, 0.2), (3, 10, 0.6), (5, 10, 1), (7, 10, 0.6), (8, 10, 0.4), (10, 10, 0), (3, 9, 2 / 3)],
)
def test_uncertainty_is_a_tent_and_the_official_form_its_half(count: int, samples: int, expected: float) -> None:
    result = Vote("x", count, samples, samples)
    assert tent(result) == pytest.approx(expected, abs=1e-15)
    assert minimum(result) == pytest.approx(expected / 2, abs=1e-15)


@given(st.integers(1, 64).flatmap(lambda m: st.tuples(st.integers(0, m), st.just(m))))
def test_uncertainty_equals_its_formula_and_is_exactly_symmetric(counts: tuple[int, int]) -> None:
    count, samples = counts
    here, mirrored = Vote("x", count, samples, samples), Vote("x", samples - count, samples, samples)
    assert tent(here) == pytest.approx(1 - 2 * abs(here.share - 0.5), abs=1e-12)
    assert minimum(here) == pytest.approx(min(here.share, 1 - here.share), abs=1e-12)
    for form in UNCERTAINTIES.values():
        assert form(here) == form(mirrored)
