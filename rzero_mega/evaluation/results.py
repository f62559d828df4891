"""Scores that were kept, by benchmark and measure, and those of two models on the same problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.records import read_records

SCORE = "score"
"""The measure that a benchmark's protocol asks for; the others stand beside it where they were drawn."""

Problems = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class BenchmarkScores:
    """Scores on the problems of a benchmark, each a question and its answers, by measure: `score`, `greedy`, `vote`."""

    problems: Problems
    measures: Mapping[str, tuple[float, ...]]

    def paired(self, other: BenchmarkScores, measure: str) -> tuple[float, ...] | None:
        """Scores of `other` in the order of these problems; None if its problems are others."""
        if measure not in other.measures or len(self.problems) != len(other.problems):
            return None
        if self.problems == other.problems:
            return other.measures[measure]
        # A question may be asked more than once: of equal ones the first goes with the first.
        found: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for problem, score in zip(reversed(other.problems), reversed(other.measures[measure]), strict=True):
            found[problem].append(score)
        scores = [found[problem].pop() if found[problem] else None for problem in self.problems]
        known = tuple(score for score in scores if score is not None)
        return known if len(known) == len(scores) else None


@dataclass(frozen=True)
class ModelScores:
    """What one model came to, by benchmark."""

    benchmarks: Mapping[str, BenchmarkScores]

    @classmethod
    def of(cls, rows: Iterable[ProblemScore]) -> ModelScores:
        """Of the rows of scores.jsonl."""
        found: dict[str, list[ProblemScore]] = defaultdict(list)
        for row in rows:
            found[row.benchmark].append(row)
        return cls({name: _scores(some) for name, some in found.items()})

    def on(self, names: Iterable[str], measure: str) -> list[tuple[float, ...]] | None:
        """The scores on these benchmarks; None where one is missing."""
        found = [self.benchmarks[name].measures.get(measure) for name in names if name in self.benchmarks]
        known = [scores for scores in found if scores is not None]
        return known if len(known) == len(list(names)) else None


def read_scores(path: Path, sha256: str | None = None) -> ModelScores:
    """Of a scores.jsonl. UserError names the row that is malformed, or says that the file has another hash."""
    rows = read_records(path, ProblemScore, sha256=sha256)
    if not rows:
        raise UserError(f"{path}: holds no scores; evaluate again")
    return ModelScores.of(rows)


def _scores(rows: Sequence[ProblemScore]) -> BenchmarkScores:
    measures = {SCORE: tuple(row.score for row in rows)}
    if all(row.mean is not None for row in rows):  # or the greedy verdict is the score
        for name in ("greedy", "vote"):
            verdicts = [getattr(row, name) for row in rows]
            if None not in verdicts:
                measures[name] = tuple(map(float, verdicts))
    return BenchmarkScores(tuple((row.question, *row.answers) for row in rows), measures)
