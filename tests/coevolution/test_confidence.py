"""Without any truth: how likely a label is right, from where sources agree. Made votes, of which the truth is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rzero_mega.coevolution.confidence import POWERS, label_confidence
from rzero_mega.coevolution.panel import panel_vote
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.panel import Voter, VoteSource

SOURCES = (
    VoteSource(Voter.SOLVER, False, 5),
    VoteSource(Voter.SOLVER, True, 5),
    VoteSource(Voter.BASE, False, 5),
)
RIGHT = "right"


@dataclass(frozen=True)
class World:
    """How a source's share of right votes is spread over questions, and how much sources have in common.

    `shapes` are of beta distributions. `difficulty` is by how much the log-odds of all sources vary together, `alike`
    how likely a wrong vote is the wrong answer that is everybody's first on that question.
    """

    shapes: tuple[tuple[float, float], ...]
    difficulty: float = 0.0
    alike: float = 0.2


SHARPENED = World(((0.8, 0.5), (1.0, 0.6), (2.0, 1.2)), difficulty=1.0, alike=0.3)
"""As on nano after an iteration or two: the Solver is sure, right or wrong, the base is not."""


def voted(world: World, questions: int, seed: int = 0) -> list[Vote]:
    rng = np.random.default_rng(seed)
    return [_vote(world, rng) for _ in range(questions)]


def _vote(world: World, rng: np.random.Generator) -> Vote:
    shift = rng.normal(0.0, world.difficulty) if world.difficulty else 0.0
    answers: list[str] = []
    for source, (right, wrong) in zip(SOURCES, world.shapes, strict=True):
        share = min(max(float(rng.beta(right, wrong)), 1e-9), 1 - 1e-9)
        share = 1 / (1 + (1 - share) / share * float(np.exp(-shift)))
        for _ in range(source.samples):
            common = rng.random() < world.alike
            answers.append(RIGHT if rng.random() < share else "first" if common else str(rng.integers(1000)))
    classes = {answer: number for number, answer in enumerate(dict.fromkeys(answers))}
    return panel_vote(SOURCES, [classes[answer] for answer in answers], answers)


def rank_score(scores: np.ndarray, right: np.ndarray) -> float:
    """The area under the ROC curve."""
    above, below = scores[right][:, None], scores[~right][None, :]
    return float((above > below).mean() + 0.5 * (above == below).mean())


def calibration_error(scores: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of score and accuracy over ten bins of equally many labels."""
    bins = np.array_split(np.argsort(scores), 10)
    return float(np.mean([abs(scores[part].mean() - right[part].mean()) for part in bins]))


def judged(votes: list[Vote]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(label_confidence(votes)), np.array([vote.answer == RIGHT for vote in votes])


@pytest.mark.parametrize("seed", range(3))
def test_confidence_is_near_the_accuracy_that_nobody_told_it(seed: int) -> None:
    scores, right = judged(voted(SHARPENED, 1200, seed))
    assert abs(scores.mean() - right.mean()) < 0.06
    assert calibration_error(scores, right) < 0.08


@pytest.mark.parametrize("seed", range(3))
def test_where_votes_are_split_it_tells_right_labels_better_than_their_share_does(seed: int) -> None:
    votes = voted(SHARPENED, 2000, seed)
    scores, right = judged(votes)
    shares = np.array([vote.share for vote in votes])
    split = (shares >= 0.4) & (shares <= 0.87)
    assert rank_score(scores[split], right[split]) > rank_score(shares[split], right[split]) + 0.01


def test_tempering_keeps_sources_that_err_alike_from_being_too_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    votes = voted(replace(SHARPENED, difficulty=1.5, alike=0.5), 1500)
    tempered, right = judged(votes)
    monkeypatch.setattr("rzero_mega.coevolution.confidence.POWERS", (1.0,))
    untempered, _ = judged(votes)
    assert untempered.mean() - right.mean() > 0.02
    assert calibration_error(tempered, right) < calibration_error(untempered, right)
    assert 1.0 in POWERS


def test_a_source_that_is_often_sure_of_what_no_other_says_is_believed_less() -> None:
    # The Solver is sure of an own error on half of the questions; the two others are mostly right.
    world = World(((0.3, 0.3), (6.0, 2.0), (6.0, 2.0)), alike=0.5)

    def asked(solver: int) -> Vote:
        """As many votes of the Solver for one answer as all others have for another one."""
        answers = ["mine"] * 5 + ["theirs"] * solver + ["x1", "x2", "x3"][: 5 - solver] + ["theirs"] * 2 + ["y1"] * 3
        classes = {answer: number for number, answer in enumerate(dict.fromkeys(answers))}
        return panel_vote(SOURCES, [classes[answer] for answer in answers], answers)

    lonely, agreed = asked(3), replace(asked(3))
    scores = label_confidence([*voted(world, 600), lonely, agreed])
    assert lonely.answer == "mine" and scores[-2] < 0.5
    assert scores[-2] == scores[-1]


def test_the_order_of_questions_changes_nothing() -> None:
    votes = voted(SHARPENED, 200)
    assert label_confidence(votes[::-1])[::-1] == pytest.approx(label_confidence(votes), abs=1e-3)


def test_who_has_no_label_has_no_confidence() -> None:
    nothing = panel_vote(SOURCES, [None] * 15, [None] * 15)
    assert label_confidence([nothing, *voted(SHARPENED, 50), nothing])[::51] == [0.0, 0.0]
    assert label_confidence([nothing]) == [0.0] and label_confidence([]) == []


def test_votes_of_one_source_can_t_be_compared() -> None:
    alone = (VoteSource(Voter.SOLVER, False, 2),)
    with pytest.raises(ValueError, match="two sources"):
        label_confidence([panel_vote(alone, [0, 0], ["7", "7"])])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from([None, 0, 1, 2, 3]), min_size=15, max_size=15), min_size=1, max_size=12))
def test_whatever_is_voted_a_confidence_is_a_probability(questions: list[list[int | None]]) -> None:
    votes = [
        panel_vote(SOURCES, classes, [None if label is None else str(label) for label in classes])
        for classes in questions
    ]
    found = label_confidence(votes)
    assert len(found) == len(votes) and all(0.0 <= confidence <= 1.0 for confidence in found)
