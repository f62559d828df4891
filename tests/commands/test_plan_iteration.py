"""`rzero-mega plan --iteration` in this process: the table, the JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rzero_mega.cli import app
from rzero_mega.commands import plan_iteration
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from tests.simulation.small import FEW
from tests.simulation.test_fit import write_run


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["plan", "--recipe", "qwen3_8b", *arguments, *FEW], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_says_where_the_time_goes_and_what_each_change_is_worth() -> None:
    text = " ".join(run("--iteration").split())
    for word in ("challenger", "evaluate", "idle", "Modelled, not measured", "of the time:", "each of these alone"):
        assert word in text
    assert "no checksums" in text and "no checksums" not in run("--iteration", "--no-switches")


def test_for_machines_it_says_the_same_with_every_assumption_and_its_source() -> None:
    found = json.loads(run("--iteration", "--no-switches", "--json", "--nodes", "2"))
    assert found["job_per"] == "iteration"
    assert found["gpus"] == 16 and found["gpu_hours"] == pytest.approx(16 * found["seconds"] / 3600)
    assert sum(phase["seconds"] for phase in found["phases"]) == pytest.approx(found["seconds"])
    gemm = found["assumptions"]["training"]["gemm_share"]
    assert gemm["value"] > 0 and "H100" in gemm["source"]


def test_one_s_own_assumptions_go_over_the_shipped(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text("costs: {job_start_s: 900}\n")
    usual, slow = (
        json.loads(run("--iteration", "--no-switches", "--json", *more))
        for more in ((), ("--assumptions", str(tmp_path / "slow.yaml")))
    )
    assert slow["seconds"] - usual["seconds"] == pytest.approx(900 - 90)


def test_a_run_s_own_iteration_stands_beside_what_its_phases_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "run")
    # Of phases that finished: the run here has steps alone.
    taken = {PhaseName.CHALLENGER: 1234.0, PhaseName.EVALUATE: 60.0}
    monkeypatch.setattr(plan_iteration, "seconds_taken", lambda _: taken)
    done = CliRunner().invoke(
        app, ["plan", "--iteration", "--no-switches", "--json", "--from", str(tmp_path / "run")], catch_exceptions=False
    )
    found = json.loads(done.output)
    assert {phase["phase"]: phase["took"] for phase in found["phases"] if phase["took"]} == taken
    assert found["assumptions"]["costs"]["job_start_s"]["value"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--iteration"], "--recipe: needed"),
        (["--iteration", "--recipe", "qwen3_9b"], "qwen3_9b"),
        (["--iteration", "--recipe", "nano"], "rollout.engine: "),
        (["--iteration", "--recipe", "qwen3_8b", "--nodes", "0"], "--nodes 0: "),
        (["--iteration", "--recipe", "qwen3_8b", "--gpu", "X100"], "--gpu X100: "),
        (["--iteration", "--recipe", "qwen3_8b", "--job-per", "run"], "--job-per: 'run' is none of"),
        (["--iteration", "--recipe", "qwen3_8b", "--from", "nowhere"], "nowhere: is no run directory"),
        (["--iteration", "--recipe", "qwen3_8b", "--assumptions", "nowhere.yaml"], "nowhere.yaml"),
        (["--recipe", "qwen3_8b"], "--gpus: needed"),
        (["--model", "Qwen3-8B", "seed=1"], "--recipe: needed"),
    ],
)
def test_what_is_wrong_is_a_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plan", *arguments])
    assert isinstance(done.exception, UserError) and said in str(done.exception) and not done.output
    assert "\n" not in str(done.exception)
