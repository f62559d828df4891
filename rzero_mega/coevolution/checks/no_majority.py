"""No majority to speak of: nearly every sample says something else.

What a Challenger would learn: an ambiguous or broken question is answered in eight ways by ten samples, and the two
that happen to agree earn 0.4 of the greatest reward, more than a fair question that nine of ten get right. That is
noise, not the edge of what the Solver can do, and a label of two votes is a coin toss. The check asks of the majority a
share of all samples; the preset's is the lower edge of the paper's band, under which no question is trained on anyway.
"""

from __future__ import annotations

from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.config.schema import ChecksConfig


def no_majority(asked: VotedQuestion, config: ChecksConfig) -> bool:
    """Whether the most frequent answer has a share of the samples below `minimum_majority`."""
    vote = asked.vote
    return vote.answer is not None and vote.count < config.minimum_majority * vote.samples
