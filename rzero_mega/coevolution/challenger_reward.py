"""The Challenger's reward: uncertainty of the Solver minus repetition (R-Zero, arXiv 2508.05004, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.coevolution.checks import NO_CHECKS, Checks
from rzero_mega.coevolution.checks.templates import template
from rzero_mega.coevolution.records import VotedQuestion, WrittenQuestion
from rzero_mega.coevolution.repetition import cluster_shares
from rzero_mega.coevolution.uncertainty import UNCERTAINTIES
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
    rewards = []
    repeated = _penalties(questions, config.repetition)
    remembered = [_memory_penalty(similarity, config.memory) for similarity in similarities or [0.0] * len(questions)]
    for question, vote, penalty, memory in zip(questions, votes, repeated, remembered, strict=True):
        if question is None:
            pays = penalty if config.malformed_pays_repetition else 0.0
            rewards.append(ChallengerReward(config.malformed - pays, 0.0, pays, False))
            continue
        if vote is None:
            raise ValueError(f"no vote on the question {question.text[:60]!r}")
        found = checks.flaw(VotedQuestion(question, vote))
        if found is not None:
            pays = penalty if config.malformed_pays_repetition else 0.0
            rewards.append(ChallengerReward(config.malformed - pays, 0.0, pays, True, found))
            continue
        unsure = uncertainty(vote, config.unanswered_counts_as_doubt)
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
