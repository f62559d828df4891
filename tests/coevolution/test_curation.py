from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.checks import NO_CHECKS
from rzero_mega.coevolution.curation import ADVICE, Curation, curate, reasons
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import SourceVotes, Vote
from rzero_mega.config import load_config
from rzero_mega.config.schema import CurationConfig
from rzero_mega.errors import UserError

PAPER = load_config(["paper"]).labels.curation
OFFICIAL = load_config(["official_code"]).labels.curation


def labelled(count: int, samples: int = 10, question: str = "q", answer: str | None = "7") -> VotedQuestion:
    return VotedQuestion(WrittenQuestion(question, None), Vote(answer, count, samples, samples))


SURE = labelled(5, question="always kept")


def dropped(config: CurationConfig, *items: VotedQuestion) -> dict[str, int]:
    """Reasons with a count, in company of one question that is kept."""
    return {reason: count for reason, count in curate([SURE, *items], config).dropped.items() if count}


def kept_counts(config: CurationConfig, samples: int) -> list[int]:
    items = [labelled(count, samples, question=f"question {count}") for count in range(1, samples + 1)]
    return [item.vote.count for item in curate(items, config).kept]


@pytest.mark.parametrize(
    ("samples", "kept"),
    [(8, [2, 3, 4, 5, 6]), (9, [3, 4, 5, 6]), (10, [3, 4, 5, 6, 7]), (20, list(range(5, 16)))],
)
def test_the_papers_band_keeps_both_of_its_edges(samples: int, kept: list[int]) -> None:
    assert kept_counts(PAPER, samples) == kept


@pytest.mark.parametrize(
    ("samples", "kept"),
    [(8, [3, 4, 5, 6]), (9, [3, 4, 5, 6, 7]), (10, [3, 4, 5, 6, 7, 8]), (20, list(range(6, 17)))],
)
def test_the_official_band_keeps_both_of_its_edges(samples: int, kept: list[int]) -> None:
    assert kept_counts(OFFICIAL, samples) == kept


@given(st.integers(1, 40), st.integers(0, 100), st.integers(0, 100))
def test_a_band_in_hundredths_is_exact(samples: int, one: int, other: int) -> None:
    low, high = sorted((one, other))
    config = CurationConfig(low=low / 100, high=high / 100)
    items = [SURE, *(labelled(count, samples, question=f"q{count}") for count in range(1, samples + 1))]
    expected = [c for c in range(1, samples + 1) if Fraction(low, 100) <= Fraction(c, samples) <= Fraction(high, 100)]
    try:
        kept = [item.vote.count for item in curate(items, config).kept if item is not SURE]
    except UserError:
        kept = []
    assert kept == expected


def test_questions_outside_the_band_are_counted_by_side() -> None:
    items = [labelled(1, question="a"), labelled(9, question="b"), labelled(10, question="c")]
    assert dropped(PAPER, *items) == {"below_band": 1, "above_band": 2}


def test_a_question_without_an_answer_is_dropped_even_with_an_open_band() -> None:
    config = CurationConfig(low=0.0, high=1.0)
    assert dropped(config, VotedQuestion(WrittenQuestion("q", None), Vote(None, 0, 10, 0))) == {"unanswered": 1}


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("证明: x", "7", "question_text"),
        ("Put it in a BOX", "7", "question_text"),
        ("q", "None", "answer"),
        ("q", "", "answer"),
        ("q", "\\Text{yes}", "answer_text"),
    ],
)
def test_the_official_drops(question: str, answer: str, reason: str) -> None:
    item = labelled(5, question=question, answer=answer)
    assert dropped(OFFICIAL, item) == {reason: 1}
    assert dropped(PAPER, item) == {}


def test_of_duplicates_only_the_first_is_looked_at() -> None:
    items = [labelled(10, question="a  b"), labelled(5, question=" a\nb "), labelled(5, question="A b")]
    assert dropped(PAPER, *items) == {"above_band": 1, "duplicate": 1}
    assert dropped(OFFICIAL, *items) == {"above_band": 1}


def test_questions_of_the_evaluation_are_held_out() -> None:
    items = [SURE, labelled(5, question="secret")]
    assert curate(items, PAPER, held_out=lambda text: text == "secret").dropped["held_out"] == 1
    assert len(curate(items, OFFICIAL, held_out=lambda text: text == "secret").kept) == 2
    assert len(curate(items, PAPER, held_out=None).kept) == 2


def test_trap_4_few_questions_are_kept_and_too_few_are_an_error_that_names_the_key() -> None:
    assert curate([SURE], PAPER) == Curation((SURE,), dict.fromkeys(reasons(NO_CHECKS), 0), (None,))
    config = CurationConfig(minimum_kept=2)
    with pytest.raises(UserError, match=r"labels\.curation\.minimum_kept: 1 of 2 .* above_band 1 \(raise .*\.high\)"):
        curate([SURE, labelled(10)], config)
    with pytest.raises(UserError, match=r"minimum_kept: 0 of 0 .* no well-formed question"):
        curate([], CurationConfig(minimum_kept=0))


def test_questions_that_are_too_long_are_dropped_and_counted_before_their_votes_are_looked_at() -> None:
    items = [SURE, labelled(0, answer=None, question="long" * 10), labelled(5, question="short")]
    found = curate(items, PAPER, overlong=lambda text: len(text) > 20)
    assert found.reasons == (None, "overlong", None) and found.dropped["overlong"] == 1


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([labelled(10, question=f"{n}") for n in range(3)], r"dropped: above_band 3 \(raise labels\.curation\.high\)$"),
        ([labelled(1, question=f"{n}") for n in range(3)], r"dropped: below_band 3 \(lower labels\.curation\.low\)$"),
        ([labelled(5, question="same")] * 1 + [labelled(10, question="same")] * 2, "1 of 3 .*dropped: duplicate 2"),
        (
            [labelled(1, question="a"), labelled(10, question="b"), labelled(10, question="c")],
            "dropped: above_band 2 .*, below_band 1",
        ),
        ([labelled(5, question="secret")], r"held_out 1 \(they are those of evaluation\.benchmarks\)"),
        ([labelled(5, question="long" * 10)], r"overlong 1 \(raise learner\.tokens_per_micro_batch"),
        ([], r"no well-formed question; .*questions\.sampling\.max_new_tokens"),
    ],
)
def test_an_error_blames_what_has_dropped_the_questions(items: list[VotedQuestion], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        curate(
            items,
            CurationConfig(minimum_kept=2),
            held_out=lambda text: text == "secret",
            overlong=lambda text: len(text) > 20,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cut_off", "says"),
    [
        (10, r"10 of 10 samples were cut off.*raise labels\.votes\.sampling\.max"),
        (1, r"1 of 10 .*see to prompts\.solver"),
    ],
)
def test_questions_without_answers_are_told_by_why_there_are_none(cut_off: int, says: str) -> None:
    nobody = VotedQuestion(WrittenQuestion("q", None), Vote(None, 0, 10, 0, cut_off=cut_off))
    with pytest.raises(UserError, match=f"dropped: unanswered 1 .*{says}"):
        curate([nobody], PAPER)


def test_every_reason_comes_with_advice() -> None:
    assert set(reasons(NO_CHECKS, verified=True)) - {"unanswered"} <= set(ADVICE)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(0, 10)), max_size=12))
def test_every_question_is_either_kept_in_order_or_counted_once(cases: list[tuple[str, int]]) -> None:
    items = [SURE, *(labelled(count, question=text) for text, count in cases)]
    result = curate(items, PAPER)
    assert len(result.kept) + sum(result.dropped.values()) == len(items)
    positions = [next(index for index, item in enumerate(items) if item is kept) for kept in result.kept]
    assert positions == sorted(positions)
    assert [item for item, reason in zip(items, result.reasons, strict=True) if reason is None] == list(result.kept)
    assert all(result.reasons.count(reason) == count for reason, count in result.dropped.items())


def voted_by(solver: int, base: int, question: str) -> VotedQuestion:
    sources = (SourceVotes("solver", solver, 5), SourceVotes("base", base, 5))
    return VotedQuestion(WrittenQuestion(question, None), Vote("7", solver + base, 10, 10, by_source=sources))


def test_a_label_needs_so_many_votes_of_every_source() -> None:
    config = CurationConfig(minimum_support=2)
    items = [voted_by(5, 1, "one of the base"), voted_by(1, 4, "one of the Solver"), voted_by(3, 2, "enough")]
    assert dropped(config, *items) == {"support": 2}
    assert dropped(config, labelled(5, question="of one source")) == {}


def test_the_band_can_be_on_the_solvers_own_votes() -> None:
    sure, unsure = voted_by(5, 2, "the Solver is sure"), voted_by(3, 5, "the base is sure")
    assert dropped(CurationConfig(), sure, unsure) == {"above_band": 1}
    assert dropped(CurationConfig(band_of="solver"), sure, unsure) == {"above_band": 1}
    kept = [item.question.text for item in curate([sure, unsure], CurationConfig(band_of="solver")).kept]
    assert kept == ["the base is sure"]
    assert [item.question.text for item in curate([sure, unsure], CurationConfig()).kept] == ["the Solver is sure"]
