"""The Challenger's reward: uncertainty of the Solver minus repetition (R-Zero, arXiv 2508.05004, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.coevolution.questions import Question
from rzero_mega.coevolution.repetition import cluster_shares
from rzero_mega.coevolution.uncertainty import UNCERTAINTIES
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config.schema import ChallengerRewardConfig, RepetitionConfig


@dataclass(frozen=True)
class ChallengerReward:
    """A reward and its parts. `repetition` is what was subtracted, weight included."""

    total: float
    uncertainty: float
    repetition: float
    well_formed: bool


def challenger_rewards(
    questions: Sequence[Question | None], votes: Sequence[Vote | None], config: ChallengerRewardConfig
) -> list[ChallengerReward]:
    """Reward every response of a step; the whole batch is needed, since repetition is a matter of the batch.

    `questions[i]` is None for a malformed response, and then `votes[i]` is not looked at. The preset `paper` gives
    max(0, (1 - 2|p - 1/2|) - |C_k|/B), and 0 for malformed; `official_code` gives min(p, 1 - p) - |C_k|/B, and
    -1 - |C_k|/B for malformed. B counts all responses, malformed ones too; in the clustering these are empty texts,
    which are similar to nothing, so that each is alone in its cluster and pays 1/B. The clamp is for well-formed
    questions only: a negative `malformed` stays.
    """
    if len(questions) != len(votes):
        raise ValueError(f"{len(questions)} questions for {len(votes)} votes")
    uncertainty = UNCERTAINTIES[config.uncertainty]
    rewards = []
    for question, vote, penalty in zip(questions, votes, _penalties(questions, config.repetition), strict=True):
        if question is None:
            pays = penalty if config.malformed_pays_repetition else 0.0
            rewards.append(ChallengerReward(config.malformed - pays, 0.0, pays, False))
            continue
        if vote is None:
            raise ValueError(f"no vote on the question {question.text[:60]!r}")
        unsure = uncertainty(vote)
        total = unsure - penalty
        rewards.append(ChallengerReward(max(0.0, total) if config.clamp_at_zero else total, unsure, penalty, True))
    return rewards


def _penalties(questions: Sequence[Question | None], config: RepetitionConfig) -> list[float]:
    if config.weight == 0:
        return [0.0] * len(questions)
    texts = [question.text if question is not None else "" for question in questions]
    shares = cluster_shares(texts, config.symmetric, config.distance_threshold, config.tokenizer)
    return [config.weight * share for share in shares]
