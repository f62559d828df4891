from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.checks import NO_CHECKS
from rzero_mega.coevolution.records import TrainingQuestion, VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.replay import (
    RELABELLED,
    draw_replayed,
    reason_against_replay,
    reasons_against_replay,
    replay_pool,
)
from rzero_mega.coevolution.votes import SourceVotes, Vote
from rzero_mega.config import load_config

texts = st.sampled_from(["1+1", "1 + 1", "2+2", "3+3", "4+4"])
datasets = st.lists(st.lists(st.builds(TrainingQuestion, texts, st.sampled_from("ab")), max_size=5), max_size=4)


def key(question: str) -> str:
    return " ".join(question.split())


@given(datasets, st.lists(texts, max_size=3))
def test_the_pool_has_every_earlier_question_once_with_its_newest_label(
    given_sets: list[list[TrainingQuestion]], asked: list[str]
) -> None:
    pool = replay_pool(given_sets, asked)
    newest = {key(row.question): row for dataset in given_sets for row in dataset}
    assert {key(row.question): row for row in pool} == {
        name: row for name, row in newest.items() if name not in {key(text) for text in asked}
    }
    assert len({key(row.question) for row in pool}) == len(pool)


@given(st.integers(0, 40), st.integers(0, 60), st.integers(0, 2**32))
def test_what_is_drawn_is_a_part_of_the_pool_and_the_stream_s(size: int, count: int, seed: int) -> None:
    pool = [TrainingQuestion(str(n), "x") for n in range(size)]
    drawn = draw_replayed(pool, count, "replay", seed)
    assert len(drawn) == min(count, size)
    assert drawn == [row for row in pool if row in drawn]
    assert drawn == draw_replayed(pool, count, "replay", seed)
    assert set(draw_replayed(pool, count // 2, "replay", seed)) <= set(drawn)


def test_every_question_is_drawn_as_often_as_every_other_over_seeds() -> None:
    pool = [TrainingQuestion(str(n), "x") for n in range(10)]
    drawn = [row.question for seed in range(2000) for row in draw_replayed(pool, 3, seed)]
    assert all(500 < drawn.count(row.question) < 700 for row in pool)


def reason(
    count: int, answer: str | None = "7", same: bool = True, banded: bool = False, override: str = "seed=0"
) -> str | None:
    config = load_config(["paper"], [override])
    by_source = (SourceVotes("solver", count - 1, 5), SourceVotes("base", 1, 5)) if answer else ()
    voted = VotedQuestion(WrittenQuestion("how much is 3 + 4", None), Vote(answer, count, 10, 10, (), 0, by_source))
    return reason_against_replay(voted, same, banded, config.labels.curation, NO_CHECKS)


def test_a_label_that_wins_again_is_trained_on_whatever_its_share() -> None:
    assert [reason(count) for count in (1, 5, 10)] == [None] * 3
    assert [reason(count, banded=True) for count in (1, 5, 10)] == ["below_band", None, "above_band"]


def test_another_answer_no_answer_and_too_little_support_speak_against_it() -> None:
    assert reason(10, same=False) == RELABELLED
    assert reason(0, None, same=False) == "unanswered"
    assert reason(9, override="labels.curation.minimum_support=2") == "support"
    assert reason(9, override="labels.curation.drop_answers=['7']") == "answer"


def test_all_reasons_are_counted() -> None:
    assert {RELABELLED, "unanswered", "support", "answer", "below_band", "above_band", "overlong"} <= set(
        reasons_against_replay(NO_CHECKS)
    )
    config = load_config(["paper"])
    voted = VotedQuestion(WrittenQuestion("1", None), Vote("7", 10, 10, 10))
    curation, checks = config.labels.curation, NO_CHECKS
    assert reason_against_replay(voted, True, False, curation, checks, overlong=lambda _: True) == "overlong"
    assert reason_against_replay(voted, True, False, curation, checks, held_out=lambda _: True) == "held_out"
