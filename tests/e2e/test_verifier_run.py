"""A run with a Verifier that has a say in the next labels; killed twice, it goes on to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import run, start
from tests.tiny_nano import SIZES

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]

COMMAND = (
    "run",
    "nano",
    *SIZES,
    "iterations=2",
    "learner.processes=1",
    "challenger.train=false",
    "solver.training.steps=1",
    "evaluation.benchmarks=[]",
    "labels.gauges.questions=0",
    "tracking.wandb=disabled",
    "verifier.train=true",
    "verifier.training={steps: 2, prompts_per_step: 4, grpo: {sequences_per_update: 16}}",
    "verifier.warm_up={steps: 12, sft: {sequences_per_update: 16}}",
    "verifier.samples=3",
    # One that has hardly been trained would drop every question,
    "verifier.use=[weigh]",
    # and the gate is open whatever it does on known pairs.
    "verifier.gate={share: 0.5, minimum: 0}",
)
KILLED_AT = {
    "a step is saved": "1/verifier/work/step_*",
    "it has given verdicts": "2/labels/work/journal.jsonl",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has a finished run, runs/whole."""
    folder = tmp_path_factory.mktemp("verifier")
    done = run(folder, *COMMAND, "run.name=whole")
    assert done.returncode == 0, done.stderr
    return folder


def iterations(folder: Path, name: str) -> Path:
    return folder / "runs" / name / "iterations"


def manifest(folder: Path, name: str, phase: str) -> dict[str, Any]:
    return dict(json.loads((iterations(folder, name) / phase / "manifest.json").read_text()))


def left(folder: Path, name: str) -> dict[str, Any]:
    """The hashes of what every phase was made from and of what it made, but for rows of metrics, which hold times."""
    phases = sorted(str(file.parent.relative_to(iterations(folder, name))) for file in _manifests(folder, name))
    found = {phase: manifest(folder, name, phase) for phase in phases}
    return {phase: (said["inputs"], {**said["outputs"], "metrics": None}) for phase, said in found.items()}


def _manifests(folder: Path, name: str) -> list[Path]:
    return list(iterations(folder, name).glob("*/*/manifest.json"))


def test_a_verifier_that_takes_part_is_asked_about_the_answers_to_the_next_questions(folder: Path) -> None:
    measured = manifest(folder, "whole", "1/verifier")["summary"]["measured"]
    assert measured["takes_part"] and measured["right"] == measured["wrong"] > 0
    first, second = (manifest(folder, "whole", f"{number}/labels") for number in (1, 2))
    assert "verdicts" not in first["summary"] and "1/verifier/model" in second["inputs"]
    verdicts = second["summary"]["verdicts"]
    assert verdicts["takes_part"] and second["summary"]["costs"]["verdicts"]["samples"] == 3 * verdicts["judged"] > 0
    lines = (iterations(folder, "whole") / "2/labels/labelled.jsonl").read_text().splitlines()
    assert sum("acceptance" in json.loads(line) for line in lines) == verdicts["labels_judged"]


def test_status_and_report_tell_of_it(folder: Path) -> None:
    status = run(folder, "status", "runs/whole")
    assert status.returncode == 0 and "V1: balanced accuracy" in status.stdout and "V2: " in status.stdout
    assert "Can the Verifier be trusted?" in (folder / "runs" / "whole" / "report.html").read_text()


def test_killed_again_and_again_it_goes_on_to_the_same_bytes(folder: Path) -> None:
    for moment, sign in KILLED_AT.items():
        process = start(folder, *COMMAND, "run.name=killed")
        while not list(iterations(folder, "killed").glob(sign)) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, moment
    done = run(folder, *COMMAND, "run.name=killed")
    assert done.returncode == 0, done.stderr
    attempts = [manifest(folder, "killed", phase)["attempts"] for phase in ("1/verifier", "2/labels", "2/verifier")]
    assert attempts == [2, 2, 1]
    assert left(folder, "killed") == left(folder, "whole")
    assert run(folder, "verify", "runs/killed").returncode == 0
