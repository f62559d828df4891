"""The Challenger's reward: uncertainty of the Solver minus repetition (R-Zero, arXiv 2508.05004, section 3.2).

Where answers have scores in place of votes, it is by these that the Solver is unsure (J-Zero, arXiv 2608.26582).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.coevolution.checks import NO_CHECKS, Checks
from rzero_mega.coevolution.checks.templates import template
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.repetition import cluster_shares
from rzero_mega.coevolution.uncertainty import UNCERTAINTIES, UNCERTAINTIES_OF_SCORES
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import ChallengerRewardConfig, MemoryConfig, RepetitionConfig


@dataclass(frozen=True)
class ChallengerReward:
    """A reward and its parts. `repetition` and `memory` are what was subtracted, weight included.

    `flaw` names the check for which a well-formed question was rewarded as a malformed one; then `uncertainty` is 0.
    """

    total: float
    uncertainty: float
    repetition: float
    well_formed: bool
    flaw: str | None = None
    memory: float = 0.0


def challenger_rewards(
    questions: Sequence[WrittenQuestion | None],
    votes: Sequence[Vote | None],
    config: ChallengerRewardConfig,
    checks: Checks = NO_CHECKS,
    similarities: Sequence[float] = (),
) -> list[ChallengerReward]:
    """Reward every response of a step; the whole batch is needed, since repetition is a matter of the batch.

    `questions[i]` is None for a malformed response, and then `votes[i]` is not looked at. The preset `paper` gives
    max(0, (1 - 2|p - 1/2|) - |C_k|/B), and 0 for malformed; `official_code` gives min(p, 1 - p) - |C_k|/B, and
    -1 - |C_k|/B for malformed. B counts all responses, malformed ones too; in the clustering these are empty texts,
    which are similar to nothing, so that each is alone in its cluster and pays 1/B. The clamp is for well-formed
    questions only: a negative `malformed` stays.

    `similarities[i]` says how similar question i is to one of the memory, which is subtracted as `config.memory` says;
    there are none without a memory.

    A question that one of `checks` finds a flaw in is rewarded as malformed. Its text still counts
    in the clusters: copies of it don't get cheaper because of its flaw.
    """
    if len(questions) != len(votes):
        raise ValueError(f"{len(questions)} questions for {len(votes)} votes")
    uncertainty = UNCERTAINTIES[config.uncertainty]
    worth: list[float | str | None] = []
    for question, vote in zip(questions, votes, strict=True):
        if question is None:
            worth.append(None)
            continue
        if vote is None:
            raise ValueError(f"no vote on the question {question.text[:60]!r}")
        found = checks.flaw(VotedQuestion(question, vote))
        worth.append(found or uncertainty(vote, config.unanswered_counts_as_doubt))
    return _rewards(questions, worth, config, similarities)


def scored_challenger_rewards(
    questions: Sequence[WrittenQuestion | None],
    scores: Sequence[Sequence[float]],
    config: ChallengerRewardConfig,
    similarities: Sequence[float] = (),
) -> list[ChallengerReward]:
    """As `challenger_rewards`; `scores` are those of the answers to each well-formed question, in their order.

    With `uncertainty` shortfall, `malformed` -1 and `malformed_pays_repetition` it is J-Zero's: max(0, 1 - mean score -
    repetition), and -1 - repetition for a malformed response.
    """
    if len(scores) != sum(question is not None for question in questions):
        raise ValueError(f"scores of {len(scores)} questions for {len(questions)} responses")
    uncertainty, those = UNCERTAINTIES_OF_SCORES[config.uncertainty], iter(scores)
    worth = [None if question is None else uncertainty(next(those)) for question in questions]
    return _rewards(questions, worth, config, similarities)


def _rewards(
    questions: Sequence[WrittenQuestion | None],
    worth: Sequence[float | str | None],
    config: ChallengerRewardConfig,
    similarities: Sequence[float],
) -> list[ChallengerReward]:
    """`worth[i]` is how unsure the Solver is of question i, or what flaw it has; None is a malformed response."""
    rewards = []
    repeated = _penalties(questions, config.repetition)
    remembered = [_memory_penalty(similarity, config.memory) for similarity in similarities or [0.0] * len(questions)]
    for unsure, penalty, memory in zip(worth, repeated, remembered, strict=True):
        if unsure is None or isinstance(unsure, str):
            pays = penalty if config.malformed_pays_repetition else 0.0
            rewards.append(ChallengerReward(config.malformed - pays, 0.0, pays, unsure is not None, unsure))
            continue
        total = unsure - penalty - memory
        total = max(0.0, total) if config.clamp_at_zero else total
        rewards.append(ChallengerReward(total, unsure, penalty, True, memory=memory))
    return rewards


def _penalties(questions: Sequence[WrittenQuestion | None], config: RepetitionConfig) -> list[float]:
    if config.weight == 0:
        return [0.0] * len(questions)
    texts = [question.text if question is not None else "" for question in questions]
    if config.mask_numbers:
        texts = [template(text) for text in texts]
    shares = cluster_shares(texts, config.symmetric, config.distance_threshold, config.tokenizer)
    return [config.weight * share for share in shares]


def _memory_penalty(similarity: float, config: MemoryConfig) -> float:
    """From 0 at the threshold up to the weight of a copy."""
    return config.weight * max(0.0, similarity - config.threshold) / (1.0 - config.threshold)
