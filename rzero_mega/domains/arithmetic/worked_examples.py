"""Worked expressions to train on, `labelled.data=arithmetic:N`."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from rzero_mega.domains.arithmetic.expressions import LEVELS, is_held_out, random_expression, truth, written_steps
from rzero_mega.domains.domain import WorkedExample, WorkedExamples

LARGEST_WORLD = 20_000
"""Most expressions of `arithmetic:N`: a fifth is of the first level, which has some 18,750 that are not held out."""


def worked_expressions(count: int, seed: int) -> Iterator[WorkedExample]:
    """Expressions of all levels in turn from the stream that the seed names: none twice, none with a held-out step."""
    rng, seen = Random(f"labelled arithmetic {seed}"), set[str]()
    levels = list(LEVELS)
    while len(seen) < count:
        expression = random_expression(levels[len(seen) % len(levels)], rng)
        steps = list(written_steps(expression))
        if expression in seen or any(is_held_out(text) for text in (expression, *(s.split("=")[0] for s in steps))):
            continue
        seen.add(expression)
        answer = str(truth(expression))
        yield WorkedExample(expression, answer, f"{';'.join(steps)}\\boxed{{{answer}}}")


WORKED_EXAMPLES = WorkedExamples(LARGEST_WORLD, worked_expressions)
