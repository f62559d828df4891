"""The panel that labels a question: a budget of votes split over several models, and over ways to put the question.

A Solver that is trained on its own majority grows sure of its errors: its share of votes stops telling right labels
from wrong ones. Votes of models that did not learn those errors, and votes on the same question in other words, do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from rzero_mega.coevolution.votes import SourceVotes, Vote, majority_vote
from rzero_mega.config.panel import Voter, VoteSource


def panel_vote(
    sources: Sequence[VoteSource],
    classes: Sequence[int | None],
    answers: Sequence[str | None],
    unanswered: str = "denominator",
    cut_off: int = 0,
) -> Vote:
    """The plurality of all votes, which come source by source, and what each source said to it.

    Of two classes with as many votes the one that is seen first wins, so that a tie goes to the sources that stand
    first. A panel of one source is the vote of R-Zero.
    """
    vote = majority_vote(classes, answers, unanswered, cut_off)
    if len(sources) == 1:
        return vote
    given = {answer: c for c, answer in zip(classes, answers, strict=True) if c is not None}
    ranked = [given[answer] for answer, _ in vote.tally]
    by_source = []
    for source, here in _slices(sources):
        tally = tuple(list(classes[here]).count(c) for c in ranked)
        by_source.append(SourceVotes(source.name, tally[0] if tally else 0, source.samples, tally))
    return replace(vote, by_source=tuple(by_source))


def solver_share(vote: Vote) -> Fraction | None:
    """The share of the Solver's votes on the question as it stands that gave the label; None if it had none of them."""
    if not vote.by_source:
        return Fraction(vote.count, vote.samples)
    own = solver_votes(vote)
    return None if own is None else Fraction(own.count, own.samples)


def solver_votes(vote: Vote) -> SourceVotes | None:
    """The Solver's among a panel's votes, those on the question as it stands; None if it gave none of them."""
    return next((votes for votes in vote.by_source if votes.source == Voter.SOLVER), None)


def _slices(sources: Sequence[VoteSource]) -> Iterator[tuple[VoteSource, slice]]:
    start = 0
    for source in sources:
        yield source, slice(start, start + source.samples)
        start += source.samples
