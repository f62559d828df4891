"""Labelled fine-tuning by the command: killed and resumed to the same bytes, and on from the Solver of another run."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.command import run, start

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]

TINY = [
    "run",
    "nano_labelled",
    "labelled.data=arithmetic:40",
    "labelled.sft.sequences_per_update=8",
    "solver.training.steps=4",
    "solver.training.prompts_per_step=4",
    "solver.training.grpo.sequences_per_update=16",
    "learner.checkpoint.every=1",
    "evaluation.benchmarks=[arithmetic:2]",
    "run.minimum_free_mb=0",
    "tracking.wandb=disabled",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has a finished run of supervised fine-tuning, runs/whole."""
    folder = tmp_path_factory.mktemp("labelled")
    done = run(folder, *TINY, "labelled.method=sft", "run.name=whole")
    assert done.returncode == 0, done.stderr
    return folder


def files(folder: Path, name: str, phase: str, file: str) -> bytes:
    return (folder / "runs" / name / "iterations" / phase / file).read_bytes()


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(folder: Path) -> None:
    arguments = [*TINY, "labelled.method=sft", "run.name=killed"]
    process = start(folder, *arguments)
    work = folder / "runs" / "killed" / "iterations" / "1" / "solver"
    while not list(work.glob("*/step_*")) and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (work / "manifest.json").exists()
    done = run(folder, *arguments)
    assert done.returncode == 0, done.stderr
    for phase, file in (("1/solver", "model/model.safetensors"), ("1/evaluate", "scores.jsonl")):
        assert files(folder, "killed", phase, file) == files(folder, "whole", phase, file)
    assert run(folder, "verify", "runs/killed").returncode == 0


def test_grpo_goes_on_from_the_solver_of_another_run(folder: Path) -> None:
    done = run(folder, *TINY, "run.name=after", "model.path=runs/whole/iterations/1/solver/model")
    assert done.returncode == 0, done.stderr
    # Its base is that Solver, measured on the same draws.
    assert files(folder, "after", "0/evaluate", "scores.jsonl") == files(folder, "whole", "1/evaluate", "scores.jsonl")
    weights = "model/model.safetensors"
    assert files(folder, "after", "1/solver", weights) != files(folder, "whole", "1/solver", weights)
