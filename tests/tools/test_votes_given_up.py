"""When a vote is decided, and what that is worth at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.config import load_config
from rzero_mega.simulation.drawing import Lengths
from tools.votes_given_up import Band, CutShort, decided_after

BAND = Band(samples=10, least=3, most=7)
WHOLE = Lengths(600, 0.6, 0.03)
ANSWERS = st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=10, max_size=10)


def count(answers: Sequence[int | None]) -> int:
    """Of the most frequent answer."""
    return max(Counter(answer for answer in answers if answer is not None).values(), default=0)


def kept(answers: Sequence[int | None]) -> bool:
    return BAND.least <= count(answers) <= BAND.most


def test_the_papers_band_keeps_three_to_seven_of_ten() -> None:
    assert Band.of(load_config(["paper"])) == BAND


@pytest.mark.parametrize(
    ("answers", "above", "everything"),
    [
        ([0] * 10, 8, 8),
        ([0, 1] * 5, 10, 9),
        ([None] * 10, 10, 8),
        ([None] * 7 + [0] * 3, 10, 10),
        ([0, 0, 0, 0, 0, 1, 2, 3, 1, 2], 10, 8),
    ],
)
def test_a_vote_is_decided_when_nothing_to_come_changes_it(
    answers: list[int | None], above: int, everything: int
) -> None:
    assert (decided_after(answers, BAND, False), decided_after(answers, BAND, True)) == (above, everything)


@given(ANSWERS, ANSWERS)
def test_whatever_comes_after_a_vote_is_decided_the_question_is_kept_or_dropped_alike(
    answers: list[int | None], others: list[int | None]
) -> None:
    for everything in (False, True):
        came = decided_after(answers, BAND, everything)
        assert kept([*answers[:came], *others[came:]]) == kept(answers)
    assert decided_after(answers, BAND, True) <= decided_after(answers, BAND, False)


def test_easy_questions_save_what_the_last_of_ten_answers_run_on() -> None:
    cut = CutShort(600, 0.6, 0.03, BAND, "half 0.95, half evenly", everything=False)
    whole, short = (fmean(lengths.sample(Random(seed), 4096) for seed in range(4000)) for lengths in (WHOLE, cut))
    assert 0.02 < 1 - short / whole < 0.2
