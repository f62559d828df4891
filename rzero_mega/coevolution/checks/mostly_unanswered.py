"""Samples without an answer: unboxed, or cut off at the token limit.

What a Challenger would learn: to ask for endless work ("write out all steps for every n up to 500"). Half of the
samples are cut off, the rest agree, and with all samples in the denominator p is one half: the greatest reward for a
question that the Solver is sure of. `challenger.reward.unanswered_counts_as_doubt: false` takes that reward away; this
check also keeps a label that rests on a few samples from the data set.
"""

from __future__ import annotations

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig


def mostly_unanswered(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """Whether a share of the samples above `maximum_unanswered` gave no answer."""
    vote = asked.vote
    return vote.samples - vote.answered > config.maximum_unanswered * vote.samples
