"""What a Verifier learns from and is measured on: answers that count as right or wrong, without any truth.

Pairs to train on are the majority's answer to a question and the rarest one (CoVerRL, arXiv 2603.17775). Pairs known in
advance are a majority that nearly all votes agree on, and the same answer altered. Both are as many right as wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random

from rzero_mega.coevolution.question_key import different, question_key
from rzero_mega.coevolution.records import VotedQuestion
from rzero_mega.coevolution.set_aside import set_aside
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.config.schema import VerifierConfig

Alter = Callable[[str, Random], str | None]
"""A wrong answer out of a right one; None where it can't be made."""


@dataclass(frozen=True)
class Pair:
    """Two answers to a question: the one counts as right, the other as wrong; `place` is the question's in its list."""

    place: int
    question: str
    right: str
    wrong: str


def anchored_pairs(voted: Sequence[VotedQuestion], config: VerifierConfig) -> list[Pair]:
    """Majority and rarest answer of each different question that is not set aside and has enough votes.

    Of several rarest answers it is the one that was seen last. A question on which two answers are tied has no majority
    to learn from.
    """
    found = []
    for place, item in _different(voted):
        tally = item.vote.tally
        if item.vote.answered < config.least_votes or len(tally) < 2 or tally[0][1] == tally[1][1]:
            continue
        if not set_aside("verifier", item.question.text, config.gate.share):
            found.append(Pair(place, item.question.text, tally[0][0], tally[-1][0]))
    return found


def known_pairs(voted: Sequence[VotedQuestion], config: VerifierConfig, alter: Alter, seed: int) -> list[Pair]:
    """Of each different question with a majority of `known_from` and more: that, and the same answer altered."""
    least, found = Fraction(str(config.known_from)), []
    for place, item in _different(voted):
        vote, text = item.vote, item.question.text
        if vote.answer is None or vote.answered < config.least_votes or Fraction(vote.count, vote.samples) < least:
            continue
        wrong = alter(vote.answer, Random(derive_seed("verifier", "alter", seed, question_key(text))))
        if wrong is not None:
            found.append(Pair(place, text, vote.answer, wrong))
    return found


def divided(pairs: Sequence[Pair], config: VerifierConfig) -> tuple[list[Pair], list[Pair]]:
    """(pairs to warm up on, pairs to measure by): those of the questions set aside, `gate.pairs` at most."""
    aside = [set_aside("verifier", pair.question, config.gate.share) for pair in pairs]
    training = [pair for pair, measured in zip(pairs, aside, strict=True) if not measured]
    return training, [pair for pair, measured in zip(pairs, aside, strict=True) if measured][: config.gate.pairs]


def audited_pairs(voted: Sequence[VotedQuestion], config: VerifierConfig) -> list[tuple[int, str, str]]:
    """(place, question, answer) of votes on questions set aside: the majority's and the rarest, `gate.pairs` each."""
    found: list[tuple[int, str, str]] = []
    for place, item in _different(voted):
        tally = item.vote.tally
        if len(tally) >= 2 and set_aside("verifier", item.question.text, config.gate.share):
            found += [(place, item.question.text, tally[0][0]), (place, item.question.text, tally[-1][0])]
    return found[: 2 * config.gate.pairs]


def _different(voted: Sequence[VotedQuestion]) -> Iterator[tuple[int, VotedQuestion]]:
    """With their places."""
    return ((place, voted[place]) for place in different(item.question.text for item in voted))
