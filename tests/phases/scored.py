"""Rows of words with answers and scores, as the labels phase leaves them."""

from __future__ import annotations

from random import Random

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.coevolution.scores import ScoredQuestion
from rzero_mega.domains.rewriting.rows import LEVELS, best, brevity, quality, random_task


def scored(number: int) -> ScoredQuestion:
    """A task with its best answer, itself as an answer, and a sample without one."""
    task = random_task(LEVELS[2], Random(number))
    answers = (best(task), task, None)
    scores = tuple(brevity(task, answer) if answer else 0.0 for answer in answers)
    qualities = tuple(quality(task, answer) if answer else 0.0 for answer in answers)
    return ScoredQuestion(WrittenQuestion(task, None), answers, scores, qualities, 30, 1)


SCORED = [scored(number) for number in range(12)]
