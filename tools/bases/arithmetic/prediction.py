"""What a model would score that had learnt its documents exactly, in seconds: `-m tools.bases.arithmetic.prediction`.

A base scores less, since it is small; how mean, greedy and vote lie to each other is decided here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import fmean

from rich.console import Console
from rich.table import Table

from rzero_mega.domains.arithmetic.expressions import ArithmeticProblem, held_out_set
from tools.bases.arithmetic.bases import FOLKLORE, NANO
from tools.bases.arithmetic.settings import ArithmeticSettings
from tools.bases.arithmetic.written import boxed_integer, solution
from tools.bases.base import Base


def predicted(
    base: Base[ArithmeticSettings], problems: Sequence[ArithmeticProblem], votes: int = 10
) -> tuple[float, float, float]:
    """Mean of samples, greedy and vote, in [0, 1].

    Greedy decoding takes the likelier branch everywhere: no number apart where that happens in less than half of the
    documents, a wrong fact where its weight is more than half, never a slip.
    """
    settings, rng = base.settings, Random(0)
    told = settings.folklore and replace(settings.folklore, weight=float(settings.folklore.weight > 0.5))
    rows = []
    for problem in problems:
        written = (
            solution(problem.expression, rng, settings.slip, settings.split, settings.folklore) for _ in range(votes)
        )
        answers = [boxed_integer(text) for text in written]
        likeliest = boxed_integer(solution(problem.expression, rng, 0.0, float(settings.split > 0.5), told))
        voted = Counter(answers).most_common(1)[0][0]
        right = fmean(answer == problem.answer for answer in answers)
        rows.append((right, float(likeliest == problem.answer), float(voted == problem.answer)))
    mean, greedy, vote = map(fmean, zip(*rows, strict=True))
    return mean, greedy, vote


def main() -> None:
    """Print what the documents of both bases say."""
    table = Table("documents of", "mean of 10 samples", "greedy", "vote of 10")
    for base in (NANO, FOLKLORE):
        table.add_row(base.name, *(f"{value:.1%}" for value in predicted(base, held_out_set())))
    Console().print(table)


if __name__ == "__main__":
    main()
