"""Hand-made scores of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.evaluation.results import ModelScores


def rows(benchmark: str, scores: Sequence[float], greedy: Sequence[bool] | None = None) -> list[ProblemScore]:
    """Rows of scores.jsonl: of a sampled protocol where there are greedy verdicts besides, else of a greedy one."""
    found = []
    for number, score in enumerate(scores):
        sampled = greedy is not None
        verdict = greedy[number] if greedy is not None else score == 1
        vote = score > 0.5 if sampled else None
        mean = score if sampled else None
        found.append(ProblemScore(benchmark, "all", f"{benchmark} {number}?", ("1",), score, mean, verdict, vote))
    return found


def model(scores: Mapping[str, Sequence[float]]) -> ModelScores:
    """A model by its greedy scores on benchmarks."""
    return ModelScores.of(row for name, some in scores.items() for row in rows(name, some))
