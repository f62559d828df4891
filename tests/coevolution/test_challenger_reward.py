from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.challenger_reward import ChallengerReward, challenger_rewards
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.coevolution.repetition import cluster_shares
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config import load_config
from rzero_mega.config.schema import ChallengerRewardConfig

PAPER = load_config(["paper"]).challenger.reward
OFFICIAL = load_config(["official_code"]).challenger.reward
SAME = "how many primes are there below one hundred"


def question(text: str) -> WrittenQuestion:
    return WrittenQuestion(text, None)


def votes(*counts: int, samples: int = 10) -> list[Vote | None]:
    return [Vote("x", count, samples, samples) for count in counts]


def totals(rewards: list[ChallengerReward]) -> list[float]:
    return [reward.total for reward in rewards]


def batch() -> list[WrittenQuestion | None]:
    """Two alike, one on its own, one malformed."""
    return [question(SAME), question(SAME), question("a quite different thing to ask of someone"), None]


def test_the_papers_reward_is_the_clamped_tent_minus_the_cluster_share() -> None:
    rewards = challenger_rewards(batch(), [*votes(5, 9, 3), None], PAPER)
    assert rewards == [
        ChallengerReward(0.5, 1.0, 0.5, True),
        ChallengerReward(0.0, 0.2, 0.5, True),
        ChallengerReward(0.6 - 0.25, 0.6, 0.25, True),
        ChallengerReward(0.0, 0.0, 0.0, False),
    ]


def test_the_official_reward_is_unclamped_and_malformed_pays_minus_one_and_its_share() -> None:
    rewards = challenger_rewards(batch(), [*votes(5, 9, 3), None], OFFICIAL)
    assert totals(rewards) == pytest.approx([0.0, -0.4, 0.05, -1.25])
    assert rewards[3] == ChallengerReward(-1.25, 0.0, 0.25, False)


def test_malformed_responses_count_in_the_batch_but_do_not_cluster_with_each_other() -> None:
    questions = [question(SAME), question(SAME), None, None, None, None, None, None]
    given_votes = [*votes(5, 5), *[None] * 6]
    assert totals(challenger_rewards(questions, given_votes, PAPER)) == [0.75, 0.75, 0, 0, 0, 0, 0, 0]
    official = totals(challenger_rewards(questions, given_votes, OFFICIAL))
    assert official == [0.25, 0.25, *[-1.125] * 6]


def test_the_weight_scales_the_penalty_and_zero_switches_it_off() -> None:
    config = load_config(["paper"], ["challenger.reward.repetition.weight=0.5"]).challenger.reward
    assert totals(challenger_rewards(batch()[:2], votes(5, 5), config)) == [0.5, 0.5]
    config = load_config(["paper"], ["challenger.reward.repetition.weight=0"]).challenger.reward
    assert totals(challenger_rewards(batch()[:2], votes(5, 5), config)) == [1.0, 1.0]


def test_a_negative_malformed_reward_is_not_clamped_away() -> None:
    config = load_config(["paper"], ["challenger.reward.malformed=-0.1"]).challenger.reward
    assert totals(challenger_rewards([None], [None], config)) == [-0.1]


def test_the_tokenizer_of_the_configuration_is_used() -> None:
    repeated: list[WrittenQuestion | None] = [question("12*3+4")] * 4
    words = challenger_rewards(repeated, votes(5, 5, 5, 5), PAPER)
    characters = challenger_rewards(repeated, votes(5, 5, 5, 5), load_config(["nano"]).challenger.reward)
    assert totals(words) == [0.75] * 4
    assert totals(characters) == [0.0] * 4


def test_a_vote_that_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="no vote"):
        challenger_rewards([question("q")], [None], PAPER)
    with pytest.raises(ValueError):
        challenger_rewards([question("q")], [], PAPER)
    assert challenger_rewards([], [], PAPER) == []


@given(
    st.lists(st.tuples(st.none() | st.sampled_from(["a b c d", "a b c e", "x y z w"]), st.integers(0, 10)), max_size=8),
    st.sampled_from([PAPER, OFFICIAL]),
)
def test_every_reward_follows_the_definition(
    cases: list[tuple[str | None, int]], config: ChallengerRewardConfig
) -> None:
    questions = [None if text is None else question(text) for text, _ in cases]
    rewards = challenger_rewards(questions, votes(*(count for _, count in cases)), config)
    shares = cluster_shares([text or "" for text, _ in cases], symmetric=config.repetition.symmetric)
    for (text, count), share, reward in zip(cases, shares, rewards, strict=True):
        p = count / 10
        if config is PAPER:
            expected = 0.0 if text is None else max(0.0, 1 - 2 * abs(p - 0.5) - share)
        else:
            expected = (-1.0 if text is None else min(p, 1 - p)) - share
        assert reward.total == pytest.approx(expected, abs=1e-12)
        assert reward.well_formed == (text is not None)


def test_a_question_pays_from_the_threshold_on_up_to_the_weight_of_a_copy() -> None:
    reward = load_config(["official_code"], ["challenger.reward.memory={weight: 0.4, threshold: 0.6}"])
    config = reward.challenger.reward
    without = challenger_rewards(batch(), [*votes(5, 9, 3), None], config)
    rewards = challenger_rewards(batch(), [*votes(5, 9, 3), None], config, similarities=[0.6, 0.8, 1.0, 0.0])
    assert [reward.memory for reward in rewards] == pytest.approx([0.0, 0.2, 0.4, 0.0])
    lost = [before - after for before, after in zip(totals(without), totals(rewards), strict=True)]
    assert lost == pytest.approx([0.0, 0.2, 0.4, 0.0])


def test_the_clamp_holds_for_the_memory_too_and_what_is_malformed_pays_nothing_for_it() -> None:
    config = load_config(["paper"], ["challenger.reward.memory.weight=5"]).challenger.reward
    rewards = challenger_rewards(batch(), [*votes(5, 9, 3), None], config, similarities=[1.0, 1.0, 0.5, 1.0])
    assert totals(rewards) == [0.0, 0.0, 0.6 - 0.25, 0.0]
    assert rewards[3].memory == 0.0
