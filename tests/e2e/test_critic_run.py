"""A run of three roles, one a Critic of either form; killed in the phase of each it goes on to the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.command import run
from tests.e2e.killed import left, manifest, run_killed, run_whole
from tests.tiny_nano import SIZES

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]

COMMAND = (
    "run",
    "rewriting",
    *SIZES,
    "iterations=2",
    "learner.processes=1",
    # Steps enough that none is the last before the kill comes.
    "challenger.training.steps=3",
    "questions={count: 24, per_part: 12}",
    "labels.votes.samples=4",
    "solver.training={steps: 4, sampling: {max_new_tokens: 32}}",
    "evaluation.benchmarks=[]",
    "labels.gauges.questions=0",
    "labels.curation.low=0.0",
    "tracking.wandb=disabled",
    "critic.train=true",
    # The gate is open whatever it does on known pairs.
    "critic={steps: 4, loss: {pairs_per_update: 8}, gate: {minimum: 0.0}}",
)
FORMS = {
    "scalar": (),
    "generative": (
        "critic.form=generative",
        "critic.comparing={training: {steps: 4, prompts_per_step: 8, rollouts_per_prompt: 4}, warm_up: {steps: 4}}",
        "critic.comparing.training.grpo.sequences_per_update=32",
    ),
}
KILLED_AT = {
    "the Critic has learnt from its first pairs": "1/critic/work/step_*",
    "a step of the Challenger that it scored is saved": "2/challenger/work/step_*",
    "a step of the Solver that it scored is saved": "2/solver/work/step_*",
}


@pytest.fixture(scope="module", params=FORMS)
def command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return (*COMMAND, *FORMS[request.param])


@pytest.fixture(scope="module")
def folder(command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_whole(tmp_path_factory.mktemp("critic"), command)


def test_each_critic_scores_its_own_solver_and_the_next_challenger_and_labels(folder: Path) -> None:
    assert manifest(folder, "whole", "1/critic")["summary"]["measured"]["takes_part"]
    scored_by = {
        phase: manifest(folder, "whole", phase)["summary"].get("scorer", "").partition("@")[0]
        for phase in ("1/challenger", "1/labels", "1/solver", "2/challenger", "2/labels", "2/solver")
    }
    first, second = "1/critic/model", "2/critic/model"
    assert list(scored_by.values()) == ["", "", first, first, first, second]


def test_status_and_report_tell_of_it(folder: Path) -> None:
    status = run(folder, "status", "runs/whole")
    assert status.returncode == 0 and "C1: " in status.stdout and "C2: " in status.stdout
    assert "Can the Critic be trusted?" in (folder / "runs" / "whole" / "report.html").read_text()


def test_killed_in_the_phase_of_each_role_it_goes_on_to_the_same_bytes(folder: Path, command: tuple[str, ...]) -> None:
    run_killed(folder, command, "killed", KILLED_AT)
    phases = ("1/critic", "2/challenger", "2/critic", "2/solver")
    assert [manifest(folder, "killed", phase)["attempts"] for phase in phases] == [2, 2, 1, 2]
    assert left(folder, "killed") == left(folder, "whole")
    assert run(folder, "verify", "runs/killed").returncode == 0
