"""What a Verifier learns from, what its verdicts are worth, and what they do to a vote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.checks import NO_CHECKS
from rzero_mega.coevolution.curation import curate, reasons
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.set_aside import set_aside
from rzero_mega.coevolution.verdict_reward import verdict_rewards
from rzero_mega.coevolution.verdicts import Rates, candidates, share_accepting, weighed
from rzero_mega.coevolution.verifier_pairs import anchored_pairs, audited_pairs, divided, known_pairs
from rzero_mega.coevolution.votes import SourceVotes, Vote
from rzero_mega.config import load_config
from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError


def config(*overrides: str) -> Config:
    return load_config(["paper"], ["verifier.train=true", "verifier.gate.share=0", *overrides])


def voted(text: str, *counts: int, samples: int = 10) -> VotedQuestion:
    tally = tuple((str(7 + rank), count) for rank, count in enumerate(counts))
    answer, count = tally[0] if tally else (None, 0)
    return VotedQuestion(WrittenQuestion(text, None), Vote(answer, count, samples, sum(counts), tally))


VOTED = [voted("a", 6, 3, 1), voted("b", 5, 5), voted("c", 10), voted("d", 2, 1), voted("a ", 6, 3, 1), voted("e")]
TALLIES = st.lists(st.integers(1, 9), min_size=1, max_size=6).map(lambda counts: sorted(counts, reverse=True))
SHARES = st.one_of(st.none(), st.floats(0, 1))


def test_a_majority_is_learnt_against_the_rarest_answer_where_there_are_votes_enough() -> None:
    pairs = anchored_pairs(VOTED, config().verifier)
    assert [(pair.place, pair.right, pair.wrong) for pair in pairs] == [(0, "7", "9")]
    few = anchored_pairs(VOTED, config("verifier.least_votes=3").verifier)
    assert [pair.place for pair in few] == [0, 3]


def test_a_known_pair_is_a_sure_majority_and_the_same_answer_altered() -> None:
    pairs = known_pairs(VOTED, config().verifier, lambda answer, _: answer + "1", seed=0)
    assert [(pair.place, pair.right, pair.wrong) for pair in pairs] == [(2, "7", "71")]
    lower = config("verifier.known_from=0.6").verifier
    assert [pair.place for pair in known_pairs(VOTED, lower, lambda answer, _: answer + "1", seed=0)] == [0, 2]
    assert known_pairs(VOTED, lower, lambda *_: None, seed=0) == []


def test_an_answer_is_altered_alike_however_often_and_otherwise_under_another_seed() -> None:
    def alter(seed: int) -> list[str]:
        many = [voted(f"q{number}", 10) for number in range(20)]
        return [p.wrong for p in known_pairs(many, config().verifier, lambda _, rng: str(rng.random()), seed)]

    assert alter(0) == alter(0) != alter(1)


def test_what_is_measured_on_is_never_trained_on() -> None:
    aside = config("verifier.gate.share=0.25", "verifier.gate.pairs=20").verifier
    many = [voted(f"q{number}", 7, 2, 1) for number in range(400)]
    trained = {pair.question for pair in anchored_pairs(many, aside)}
    sure = known_pairs([voted(f"q{number}", 10) for number in range(400)], aside, lambda *_: "0", seed=0)
    warm, measured = divided(sure, aside)
    audited = {question for _, question, _ in audited_pairs(many, aside)}
    assert 270 < len(trained) < 330 and {pair.question for pair in warm} == trained
    assert len(measured) == len(audited) == 20
    assert trained.isdisjoint(pair.question for pair in measured) and trained.isdisjoint(audited)
    assert all(set_aside("verifier", f" {pair.question}\n", 0.25) for pair in measured), (
        "whitespace makes no other question"
    )


def test_rewards_are_for_agreement_with_what_counts_as_right_and_nothing_unread_earns() -> None:
    verdicts = [True, True, False, False, None, None]
    assert verdict_rewards(verdicts, [True, False] * 3) == [1, 0, 0, 1, 0, 0]


def test_rates_are_counted_and_a_coin_has_a_balanced_accuracy_of_one_half() -> None:
    rates = Rates.of(right=[1.0, 0.6, 0.5, None], wrong=[0.8, 0.2])
    assert (rates.right_accepted, rates.wrong_accepted) == (2, 1)
    assert (rates.true_accept, rates.false_accept, rates.balanced_accuracy) == (0.5, 0.5, 0.5)
    assert Rates.from_json(rates.as_json()) == rates
    assert Rates.of([], [1.0]).balanced_accuracy is None
    with pytest.raises(ValueError, match="right_accepted"):
        Rates.from_json({**rates.as_json(), "right_accepted": 9})


def test_verdicts_that_cannot_be_read_have_no_share() -> None:
    assert share_accepting([True, None, False, True]) == pytest.approx(2 / 3)
    assert share_accepting([None, None]) is None


@given(st.integers(1, 200), st.integers(1, 200), st.data(), st.floats(0, 1), st.floats(0, 1))
def test_more_acceptance_weighs_more_exactly_where_the_verifier_tells_right_from_wrong(
    right: int, wrong: int, data: st.DataObject, one: float, other: float
) -> None:
    rates = Rates(right, data.draw(st.integers(0, right)), wrong, data.draw(st.integers(0, wrong)))
    low, high = sorted((one, other))
    smoothed = (rates.right_accepted + 1) / (right + 2) - (rates.wrong_accepted + 1) / (wrong + 2)
    if smoothed >= 0:
        assert rates.weight(low) <= rates.weight(high) * (1 + 1e-9)
    else:
        assert rates.weight(low) >= rates.weight(high) * (1 - 1e-9)
    assert rates.weight(None) == 1.0 and rates.weight(low) > 0


def test_the_weight_of_a_sure_verdict_is_the_ratio_of_its_likelihoods() -> None:
    rates = Rates(98, 79, 98, 19)
    assert rates.weight(1.0) == pytest.approx(0.8 / 0.2)
    assert rates.weight(0.0) == pytest.approx(0.2 / 0.8)
    assert rates.weight(0.5) == pytest.approx(1.0)


@given(TALLIES, st.data())
def test_a_weighed_vote_has_the_same_answers_with_the_heaviest_first(counts: list[int], data: st.DataObject) -> None:
    vote = voted("q", *counts, samples=60).vote
    weights = data.draw(st.lists(st.floats(0.01, 100), min_size=len(counts), max_size=len(counts)))
    found = weighed(vote, weights)
    assert sorted(found.tally) == sorted(vote.tally) and (found.answer, found.count) == found.tally[0]
    heaviest = max(count * weight for (_, count), weight in zip(vote.tally, weights, strict=True))
    by_answer = dict(zip((answer for answer, _ in vote.tally), weights, strict=True))
    assert found.count * by_answer[str(found.answer)] == heaviest
    assert weighed(vote, [2.0] * len(counts)) == vote, "weights that are all the same change nothing"


def test_the_sources_of_a_weighed_vote_follow_its_answers() -> None:
    sources = (SourceVotes("solver", 2, 3, (2, 1)), SourceVotes("base", 0, 2, (0, 2)))
    vote = Vote("7", 3, 5, 5, (("7", 3), ("8", 2)), by_source=sources)
    found = weighed(vote, [1.0, 2.0])
    assert (found.answer, found.count) == ("8", 2)
    assert found.by_source == (SourceVotes("solver", 1, 3, (1, 2)), SourceVotes("base", 2, 2, (2, 0)))


def test_only_answers_whose_verdicts_may_change_something_are_asked_for() -> None:
    drop, weigh, both = (
        candidates(VOTED, found.labels, found.verifier)
        for found in (config(), config("verifier.use=[weigh]"), config("verifier.use=[weigh, drop]"))
    )
    # The paper's band is .25 to .75; `c` is above it whatever is said, and a second `a` is dropped anyway.
    assert drop == [(0, 0), (1, 0)]
    assert weigh == both == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert candidates(VOTED, config().labels, config("verifier.use=[]").verifier) == []
    again = config("labels.curation.drop_duplicates=false")
    assert candidates(VOTED, again.labels, again.verifier) == [(0, 0), (1, 0), (4, 0)]
    all_votes = config("labels.panel.base=5", "labels.selection=teaching_value")
    assert candidates(VOTED, all_votes.labels, all_votes.verifier) == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_what_the_verifier_rejects_is_dropped_after_what_else_speaks_against_a_question() -> None:
    labels = config().labels
    found = curate(VOTED[:3], labels.curation, rejected={0, 2})
    assert found.reasons == ("rejected", None, "above_band")
    assert found.dropped == dict.fromkeys(reasons(NO_CHECKS, verified=True), 0) | {"rejected": 1, "above_band": 1}
    assert "rejected" not in curate(VOTED[:3], labels.curation).dropped
    with pytest.raises(UserError, match=r"rejected 2 \(lower verifier\.drop_below\)"):
        curate(VOTED[:2], labels.curation, rejected={0, 1})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("labelled.method=sft", "labelled.data=my.jsonl"), r"^verifier\.train: a Verifier learns from votes"),
        (("verifier.use=[hide]",), r"^verifier\.use: 'hide' is not one of weigh, drop"),
        (("verifier.training.prompts_per_step=7",), r"^verifier\.training\.prompts_per_step: 7 is odd"),
    ],
)
def test_what_a_verifier_cannot_do_is_said_at_once(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config(*overrides)
    load_config(["paper"], [*overrides, "verifier.train=false"])
