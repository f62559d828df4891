"""A vote that is decided before its end: what becomes of its question does not depend on what was still to come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.checks import NO_CHECKS
from rzero_mega.coevolution.curation import reason_to_drop
from rzero_mega.coevolution.decided_votes import OutOfBand
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import majority_vote
from rzero_mega.config.schema import CurationConfig, LabelsConfig, VotesConfig
from rzero_mega.grading.answers.classes import equivalence_classes

# Some are equal though they are written otherwise; "5" is the same as "5 m" unless "5 cm" is there as well; "None" is
# what silence says where silence votes.
ANSWERS = st.sampled_from(["5", "5", "5", "5 m", "5 cm", "5.0", "1/2", "0.5", "None", "x+1", None, None])


def labels(samples: int, low: float, high: float, unanswered: str = "denominator") -> LabelsConfig:
    return LabelsConfig(
        votes=VotesConfig(samples=samples, unanswered=unanswered), curation=CurationConfig(low=low, high=high)
    )


def is_dropped(answers: Sequence[str | None], config: LabelsConfig) -> bool:
    (classes,) = equivalence_classes([answers], lambda pairs: [False for _ in pairs])
    vote = majority_vote(classes, answers, config.votes.unanswered)
    return reason_to_drop(VotedQuestion(WrittenQuestion("q", None), vote), config.curation, NO_CHECKS, None) is not None


@given(
    st.data(),
    st.lists(ANSWERS, min_size=1, max_size=16),
    st.tuples(st.integers(0, 100), st.integers(0, 100)),
    st.sampled_from(["denominator", "answer"]),
)
def test_a_decided_question_is_dropped_whatever_is_missing(
    data: st.DataObject, answers: list[str | None], ends: tuple[int, int], unanswered: str
) -> None:
    low, high = sorted(ends)
    config = labels(len(answers), low / 100, high / 100, unanswered)
    rule, counts, left = OutOfBand.of(config), Counter[str | None](), data.draw(st.permutations(range(len(answers))))
    while left and not rule.decided(counts):
        counts[answers[left.pop()]] += 1
    if not rule.decided(counts):
        return
    # What is under way when it is decided may still become whole.
    aborted = set(data.draw(st.lists(st.sampled_from(left)))) if left else set()
    assert is_dropped(answers, config)
    assert is_dropped([None if place in aborted else said for place, said in enumerate(answers)], config)


@pytest.mark.parametrize(
    ("counts", "unanswered", "decided"),
    [
        ({"7": 8}, "denominator", False),
        ({"7": 9}, "denominator", True),
        # By what they say these are nine, and are not counted so: "5 cm" may be to come.
        ({"5": 8, "5 m": 1}, "denominator", False),
        ({None: 7}, "denominator", False),
        ({None: 8}, "denominator", True),
        ({None: 8}, "answer", False),
        ({None: 9}, "answer", True),
    ],
)
def test_the_band_of_ten_votes(counts: dict[str | None, int], unanswered: str, decided: bool) -> None:
    rule = OutOfBand.of(labels(10, 0.3, 0.8, unanswered))
    assert rule == OutOfBand(10, Fraction(3, 10), Fraction(8, 10), unanswered == "answer")
    assert rule.decided(counts) is decided


def test_a_vote_that_decides_nothing_is_drawn_to_its_end() -> None:
    rule = OutOfBand.of(labels(4, 0.0, 1.0))
    assert not any(rule.decided({"7": votes, None: 4 - votes}) for votes in range(5))
