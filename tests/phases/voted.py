"""Sums with votes, as the labels phase leaves them."""

from __future__ import annotations

from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote


def labelled(number: int, *counts: int) -> LabelledQuestion:
    """The question number+number: the right answer has the first of the counts, too high ones have the others."""
    tally = tuple((str(2 * number + rank), count) for rank, count in enumerate(counts))
    answers = tuple(answer for answer, count in tally for _ in range(count))
    vote = Vote(*tally[0], len(answers), len(answers), tally)
    answered = AnsweredQuestion(WrittenQuestion(f"{number}+{number}", None), vote, answers, tokens=9)
    return LabelledQuestion(answered, None, str(2 * number), True)


VOTED = [labelled(n, 10) if n % 2 else labelled(n, 6, 3, 1) for n in range(11, 51)]
"""On every other one all agree."""
