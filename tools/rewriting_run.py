"""What the Solvers of a run of the world of rewriting write on its benchmark: hidden quality beside the score.

    python -m tools.rewriting_run RUN

A run's own tables have scores of the answers to its Challengers' tasks alone, and these change. Here both are of the
benchmark's tasks, as in the card of the base, which is iteration 0.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rzero_mega.evaluation.benchmarks import load_benchmarks
from rzero_mega.evaluation.predictions import Prediction
from rzero_mega.evaluation.scores import PREDICTIONS
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import read_records
from rzero_mega.run import RunDirectory
from tools.bases.rewriting.measuring import Worth, judged, table


def answers_of(run: RunDirectory) -> Iterator[tuple[int, Worth]]:
    """(iteration, what its Solver's answers are worth) for each evaluation that is finished."""
    (bench,) = [bench for bench in load_benchmarks(run.config.evaluation) if bench.name == "rewriting"]
    tasks = [(int(problem.level or 0), problem.question) for problem in bench.problems]
    for iteration in run.iterations():
        phase = run.phase(iteration, PhaseName.EVALUATE)
        if phase.manifest() is None:
            continue
        greedy, sampled = [""] * len(tasks), [list[str]() for _ in tasks]
        for prediction in read_records(phase.path / PREDICTIONS, Prediction):
            said = prediction.response
            if said.benchmark != bench.name:
                continue
            if said.sample is None:
                greedy[said.problem] = said.text
            else:
                sampled[said.problem].append(said.text)
        yield iteration, judged(tasks, greedy, sampled).overall


if __name__ == "__main__":
    with RunDirectory.open_existing(Path(sys.argv[1])) as opened:
        print(table({str(iteration): asdict(worth) for iteration, worth in answers_of(opened)}, "iteration"))
