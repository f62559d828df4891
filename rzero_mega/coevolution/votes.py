"""Majority votes: the Solver's most frequent answer is the pseudo-label (R-Zero, arXiv 2508.05004, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

UNANSWERED_TEXT = "None"
"""What a sample without an answer says under ``unanswered="answer"``."""


@dataclass(frozen=True)
class SourceVotes:
    """How many of a source's `samples` gave the answer that won, where votes come from several sources.

    `tally` has its votes for each answer, in the order of the whole vote's tally.
    """

    source: str
    count: int
    samples: int
    tally: tuple[int, ...] = ()


@dataclass(frozen=True)
class Vote:
    """Result of a vote: `count` of `samples` samples gave `answer`; `answered` of them gave any answer.

    `tally` has every class of equal answers with its votes, the most frequent first; `cut_off` samples did not end by
    themselves. `by_source` is empty where one source gives all votes.
    """

    answer: str | None
    count: int
    samples: int
    answered: int
    tally: tuple[tuple[str, int], ...] = ()
    cut_off: int = 0
    by_source: tuple[SourceVotes, ...] = ()

    @property
    def share(self) -> float:
        """The empirical accuracy p of the paper: the share of all samples that agree with the majority."""
        return self.count / self.samples


def majority_vote(
    classes: Sequence[int | None],
    answers: Sequence[str | None],
    unanswered: str = "denominator",
    cut_off: int = 0,
) -> Vote:
    """Count the samples of one question, given in the order of their sample index.

    `classes[i]` is the equivalence class of sample i's answer, None for a sample that has none: unboxed, cut off,
    aborted or timed out. With `unanswered="denominator"` such a sample is never a vote and counts in the denominator;
    with "answer" all of them vote for the string "None", as in the official code, where a question half of whose
    samples are cut off thereby earns the greatest reward.

    A tie goes to the class seen first, and a class is represented by its first answer. The samples are exchangeable, so
    either of two tied classes is as likely to come first: the rule is fair as well as deterministic, where a rule that
    looks at the answers (the shortest, the smallest) would pull all labels one way. It is fair only in the order of the
    sample index; the order of completion would favour short responses.
    """
    if len(classes) != len(answers):
        raise ValueError(f"{len(classes)} classes for {len(answers)} answers")
    if not classes:
        raise ValueError("a vote needs at least one sample")
    if unanswered not in ("denominator", "answer"):
        raise ValueError(f"unanswered: {unanswered!r} is neither 'denominator' nor 'answer'")
    counts: dict[int | None, int] = {}
    first: dict[int | None, str] = {}
    for label, answer in zip(classes, answers, strict=True):
        if label is not None and answer is None:
            raise ValueError(f"a sample of class {label} has no answer")
        if unanswered == "answer" and (label is None or answer == UNANSWERED_TEXT):
            label, answer = None, UNANSWERED_TEXT
        elif label is None or answer is None:
            continue
        counts[label] = counts.get(label, 0) + 1
        first.setdefault(label, answer)
    answered = sum(label is not None for label in classes)
    if not counts:
        return Vote(None, 0, len(classes), answered, cut_off=cut_off)
    # Of equal counts the first: a dict keeps the order of sight, and the sort is stable.
    tally = sorted(((first[label], count) for label, count in counts.items()), key=lambda pair: -pair[1])
    return Vote(*tally[0], len(classes), answered, tuple(tally), cut_off)
