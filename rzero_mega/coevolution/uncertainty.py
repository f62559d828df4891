"""How unsure the Solver is of a question, from the share p of its samples that agree, or from their scores.

Both forms on p are computed from the counts, so that p and 1 - p give the very same number. The second argument says
whether samples without an answer count as doubt (1 - p holds them) or not (only other answers do). Without it, taking
answers away can never raise the result: neither the majority nor the rest of the answers grows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rzero_mega.coevolution.scores import shortfall, spread
from rzero_mega.coevolution.votes import Vote


def tent(vote: Vote, unanswered_counts_as_doubt: bool = True) -> float:
    """1 - 2|p - 1/2|: 1 at p = 1/2 and 0 at both ends (R-Zero, arXiv 2508.05004, section 3.2)."""
    return 2 * min(vote.count, _doubts(vote, unanswered_counts_as_doubt)) / vote.samples


def minimum(vote: Vote, unanswered_counts_as_doubt: bool = True) -> float:
    """min(p, 1 - p), which is half of `tent`: the form of the official code."""
    return min(vote.count, _doubts(vote, unanswered_counts_as_doubt)) / vote.samples


def _doubts(vote: Vote, unanswered_counts_as_doubt: bool) -> int:
    # Where the string "None" may win, it can have more votes than there are answers.
    return vote.samples - vote.count if unanswered_counts_as_doubt else max(0, vote.answered - vote.count)


UNCERTAINTIES = {"tent": tent, "min": minimum}
"""By the name that challenger.reward.uncertainty gives."""

UNCERTAINTIES_OF_SCORES: Mapping[str, Callable[[Sequence[float]], float]] = {"shortfall": shortfall, "spread": spread}
"""The same where answers have scores in place of votes."""
