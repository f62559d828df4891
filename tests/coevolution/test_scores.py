"""Scores in place of votes: what they are worth to a Challenger, and which questions are kept by them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rzero_mega.coevolution.challenger_reward import challenger_rewards, scored_challenger_rewards
from rzero_mega.coevolution.near_duplicates import Copies
from rzero_mega.coevolution.records import TrainingQuestion, WrittenQuestion
from rzero_mega.coevolution.scored_curation import REASONS, curate_scored, too_few
from rzero_mega.coevolution.scores import ScoredQuestion, UnlabelledQuestion, shortfall, spread
from rzero_mega.coevolution.solver_reward import solver_rewards
from rzero_mega.coevolution.uncertainty import UNCERTAINTIES, UNCERTAINTIES_OF_SCORES
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import ChallengerRewardConfig, CurationConfig, RepetitionConfig, SolverRewardConfig
from rzero_mega.config.schema.coevolution import MemoryConfig, NearDuplicatesConfig
from rzero_mega.errors import UserError
from rzero_mega.tracking.words import reason_text

ALONE = WrittenQuestion("a river of stones runs under the old bridge", None)
TWICE = WrittenQuestion("seven green birds sing to one grey cat", None)
WIDE = CurationConfig(low=0.25, high=1.0)
NO_COPIES = Copies((None,) * 9, (None,) * 9)


def scored(text: str, *scores: float | None) -> ScoredQuestion:
    """A question whose answers have these scores; None is no answer."""
    answers = tuple(None if score is None else "x" for score in scores)
    return ScoredQuestion(WrittenQuestion(text, None), answers, tuple(s or 0.0 for s in scores), scores, 10, 0)


def reasons(questions: list[ScoredQuestion], config: CurationConfig = WIDE, copies: Copies = NO_COPIES) -> list[object]:
    found = curate_scored(questions, config, lambda text: "held" in text, copies, lambda text: len(text) > 40)
    assert [item.question for item in found] == [item.question for item in questions]
    return [item.dropped for item in found]


def test_the_spread_is_nothing_of_equal_scores_and_1_of_halves_at_both_ends() -> None:
    assert spread([0.3, 0.3, 0.3]) == 0.0 and spread([0.0, 1.0, 1.0, 0.0]) == 1.0
    assert spread([0.25, 0.75]) == 0.5
    assert spread([1.0, 0.0, 0.0, 0.0]) == pytest.approx(2 * math.sqrt(0.25 * 0.75))
    assert shortfall([0.5, 0.0, 0.25, 0.25]) == 0.75


def test_a_challenger_is_paid_for_what_answers_lack_less_repetition() -> None:
    config = ChallengerRewardConfig(uncertainty="shortfall", malformed=-1.0, malformed_pays_repetition=True)
    questions = [ALONE, TWICE, None, TWICE]
    rewards = scored_challenger_rewards(questions, [(0.5, 0.0), (0.2, 0.2), (1.0, 1.0)], config)
    # One of four alone, two of four alike; the malformed one is alone.
    assert [reward.total for reward in rewards] == pytest.approx([0.75 - 0.25, 0.8 - 0.5, -1.25, 0.0])
    assert [reward.well_formed for reward in rewards] == [True, True, False, True]


def test_a_challenger_may_be_paid_for_the_spread_instead_and_pays_for_what_is_remembered() -> None:
    memory = MemoryConfig(weight=0.5, threshold=0.5)
    config = ChallengerRewardConfig(uncertainty="spread", repetition=RepetitionConfig(weight=0.0), memory=memory)
    rewards = scored_challenger_rewards([ALONE, TWICE], [(0.0, 1.0), (0.5, 0.5)], config, [1.0, 0.0])
    assert [(reward.total, reward.uncertainty, reward.memory) for reward in rewards] == [(0.5, 1.0, 0.5), (0, 0, 0)]
    with pytest.raises(ValueError, match="scores of 1 questions for 2 responses"):
        scored_challenger_rewards([ALONE, TWICE], [(0.0, 1.0)], config)


def test_votes_and_scores_have_no_uncertainty_in_common() -> None:
    assert not UNCERTAINTIES.keys() & UNCERTAINTIES_OF_SCORES.keys()
    with pytest.raises(KeyError):
        challenger_rewards([ALONE], [Vote("1", 1, 2, 2)], ChallengerRewardConfig(uncertainty="spread"))
    with pytest.raises(KeyError):
        scored_challenger_rewards([ALONE], [(1.0,)], ChallengerRewardConfig())


def test_a_solver_earns_its_score() -> None:
    config = SolverRewardConfig(accuracy_weight=2.0)
    assert [reward.total for reward in solver_rewards([0.25, 0.0, 1.0], ["a", "b", "c"], config)] == [0.5, 0.0, 2.0]


def test_questions_are_kept_whose_scores_lie_apart() -> None:
    questions = [
        scored("kept", 0.0, 1.0),
        scored("equal", 0.5, 0.5),
        scored("nothing", None, None),
        scored("half", None, 0.5),
        scored("held out", 0.0, 1.0),
        scored("kept ", 0.0, 1.0),
        scored("long" * 20, 0.0, 1.0),
    ]
    assert reasons(questions) == [None, "scores_alike", "unanswered", None, "held_out", "duplicate", "overlong"]
    assert reasons(questions, replace(WIDE, high=0.6))[0] == "scores_apart"
    assert reasons(questions, replace(WIDE, drop_questions_containing=["ALF"]))[3] == "question_text"
    assert reasons(questions, replace(WIDE, drop_held_out=False, drop_duplicates=False))[4:6] == [None, None]


def test_copies_and_templates_are_dropped_as_they_are_by_votes() -> None:
    questions = [scored(f"item {number}", 0.0, 1.0) for number in range(3)]
    copies = Copies((None, None, 0), (None, 0, None))
    near = NearDuplicatesConfig(drop=True, drop_seen=True)
    assert reasons(questions, replace(WIDE, near_duplicates=near), copies) == [None, "near_duplicate", "seen_before"]
    assert reasons(questions, replace(WIDE, maximum_per_template=2)) == [None, None, "template"]


@pytest.mark.parametrize(
    ("questions", "complaint"),
    [
        ([], "0 of 0 scored questions were kept and 2 are needed: the Challenger has written no well-formed question"),
        (
            [scored("a", 0.0, 1.0), scored("b", 0.5, 0.5), scored("c", 0.5, 0.5), scored("d", None)],
            r"1 of 4 .* 2 are needed; dropped: scores_alike 2 \(lower .*curation.low\), unanswered 1 \(see to prompts",
        ),
        ([scored("a", 0.0, 1.0)], "1 of 1 .* are needed; more of them take questions.count"),
    ],
)
def test_too_few_questions_are_one_line_that_says_what_to_do(questions: list[ScoredQuestion], complaint: str) -> None:
    with pytest.raises(UserError, match=rf"labels.curation.minimum_kept: {complaint}"):
        reasons(questions, replace(WIDE, minimum_kept=2))


def test_every_reason_has_words_and_advice() -> None:
    for reason in REASONS:
        assert "_" not in reason_text(reason)
        assert f"; dropped: {reason} 1 (" in too_few(0, [reason], WIDE)


def test_scored_questions_come_back_from_their_rows() -> None:
    question = replace(scored("a", 0.0, None, 0.5), dropped="scores_alike", qualities=(None, 0.0, 1.0))
    row = question.as_json()
    assert ScoredQuestion.from_json(row) == question
    assert (row["kept"], row["score"], question.quality, question.unanswered) == (False, 0.5 / 3, 0.5, 1)
    damages = [("scores", [0.0, 0.0]), ("scores", [0.0, 2.0, 0.0]), ("answers", []), ("qualities", ["x"] * 3)]
    for key, damaged in damages:
        with pytest.raises((ValueError, TypeError)):
            ScoredQuestion.from_json({**row, key: damaged})


def test_a_labelled_data_set_can_be_read_for_its_questions() -> None:
    assert UnlabelledQuestion.from_json(TrainingQuestion("1+1", "2").as_json()) == UnlabelledQuestion("1+1")
    assert UnlabelledQuestion("1+1").as_json() == {"question": "1+1"}
