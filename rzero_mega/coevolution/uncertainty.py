"""How unsure the Solver is of a question, from the share p of its samples that agree.

Both forms are computed from the counts, so that p and 1 - p give the very same number.
"""

from __future__ import annotations

from rzero_mega.coevolution.votes import Vote


def tent(vote: Vote) -> float:
    """1 - 2|p - 1/2|: 1 at p = 1/2 and 0 at both ends (R-Zero, arXiv 2508.05004, section 3.2)."""
    return 2 * min(vote.count, vote.samples - vote.count) / vote.samples


def minimum(vote: Vote) -> float:
    """min(p, 1 - p), which is half of `tent`: the form of the official code."""
    return min(vote.count, vote.samples - vote.count) / vote.samples


UNCERTAINTIES = {"tent": tent, "min": minimum}
"""By the name that challenger.reward.uncertainty gives."""
