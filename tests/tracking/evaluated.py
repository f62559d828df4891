"""A run of which nothing but evaluations is there, with hand-made scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rzero_mega.atomic import write_jsonl
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from tests.tracking.synthetic import synthetic_config


def write_evaluations(
    path: Path, scores: Mapping[int, Sequence[ProblemScore]], groups: Mapping[str, str], *overrides: str
) -> Path:
    """The folder of a run whose iterations came to these scores; `groups` by benchmark."""
    with RunDirectory.create_or_open(path, synthetic_config(*overrides), writer=True) as run:
        for iteration, rows in scores.items():
            phase = run.phase(iteration, PhaseName.EVALUATE)
            phase.begin({})
            write_jsonl(phase.path / "scores.jsonl", (row.as_json() for row in rows))
            by_benchmark = {name: {"group": group, "problems": 1} for name, group in groups.items()}
            phase.finish({"scores": Path("scores.jsonl")}, {"by_benchmark": by_benchmark})
    return path
