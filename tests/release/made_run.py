"""A run whose phases left the nano base as their models: what an export makes of it needs no training."""

from __future__ import annotations

import shutil
from pathlib import Path

from rzero_mega.assets import nano_base_path
from rzero_mega.atomic import write_jsonl
from rzero_mega.config import load_config
from rzero_mega.evaluation.problem_score import ProblemScore
from rzero_mega.evaluation.scores import summary
from rzero_mega.evaluation.texts import run_texts
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.weights.model_copy import copy_small_files

WEIGHTS = "model.safetensors"
SCORES = [(1.0, True), (0.5, True), (0.25, False), (0.75, True)]
"""Mean and greedy verdict of four questions."""


def make_run(path: Path, *overrides: str, iterations: int = 2) -> RunDirectory:
    """Iterations with a Challenger, a Solver and an evaluation each; open for reading."""
    settings = ("run.minimum_free_mb=0", "tracking.wandb=disabled", "evaluation.benchmarks=[arithmetic:1]")
    config = load_config(["paper", "nano"], [*settings, f"iterations={iterations}", *overrides])
    with RunDirectory.create_or_open(path, config, writer=True, texts=run_texts(config)) as run:
        for iteration in range(iterations + 1):
            if iteration:
                leave_model(run, iteration, PhaseName.CHALLENGER)
                leave_model(run, iteration, PhaseName.SOLVER)
            _leave_scores(run, iteration)
    return RunDirectory.open_existing(path)


def leave_model(run: RunDirectory, iteration: int, name: PhaseName) -> None:
    """Have the phase finished, with the nano base as its model."""
    phase = run.phase(iteration, name)
    phase.begin({})
    model = phase.path / "model"
    model.mkdir()
    copy_small_files(nano_base_path(), model)
    shutil.copyfile(nano_base_path() / WEIGHTS, model / WEIGHTS)
    phase.finish({"model": Path("model")}, {})


def _leave_scores(run: RunDirectory, iteration: int) -> None:
    phase = run.phase(iteration, PhaseName.EVALUATE)
    phase.begin({})
    rows = [
        ProblemScore("arithmetic", "1", f"{n}+1", (str(n + 1),), mean, mean, greedy, greedy)
        for n, (mean, greedy) in enumerate(SCORES)
    ]
    write_jsonl(phase.path / "scores.jsonl", (row.as_json() for row in rows))
    phase.finish({"scores": Path("scores.jsonl")}, summary(rows, {"arithmetic": "arithmetic"}))
