"""A run with a Verifier that has a say in the next labels; killed twice, it goes on to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.command import run
from tests.e2e.killed import iterations, left, manifest, run_killed, run_whole
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
    return run_whole(tmp_path_factory.mktemp("verifier"), COMMAND)


def test_a_verifier_that_takes_part_is_asked_about_the_answers_to_the_next_questions(folder: Path) -> None:
    measured = manifest(folder, "whole", "1/verifier")["summary"]["measured"]
    assert measured["takes_part"] and measured["right"] == measured["wrong"] > 0
    first, second = (manifest(folder, "whole", f"{number}/labels") for number in (1, 2))
    assert "verdicts" not in first["summary"] and "1/verifier/model" in second["inputs"]
    verdicts = second["summary"]["verdicts"]
    assert (
        verdicts["takes_part"]
        and second["summary"]["costs"]["verdicts"]["samples"] == 3 * verdicts["answers_verified"] > 0
    )
    lines = (iterations(folder, "whole") / "2/labels/labelled.jsonl").read_text().splitlines()
    assert sum("acceptance" in json.loads(line) for line in lines) == verdicts["labels_verified"]


def test_status_and_report_tell_of_it(folder: Path) -> None:
    status = run(folder, "status", "runs/whole")
    assert status.returncode == 0 and "V1: balanced accuracy" in status.stdout and "V2: " in status.stdout
    assert "Can the Verifier be trusted?" in (folder / "runs" / "whole" / "report.html").read_text()


def test_killed_again_and_again_it_goes_on_to_the_same_bytes(folder: Path) -> None:
    run_killed(folder, COMMAND, "killed", KILLED_AT)
    attempts = [manifest(folder, "killed", phase)["attempts"] for phase in ("1/verifier", "2/labels", "2/verifier")]
    assert attempts == [2, 2, 1]
    assert left(folder, "killed") == left(folder, "whole")
    assert run(folder, "verify", "runs/killed").returncode == 0
