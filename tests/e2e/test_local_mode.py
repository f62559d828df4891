"""`rzero-mega submit --local`: iterations or phases as processes, going on where one was killed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.command import TINY, Undisturbed, final_weights, run, start
from tests.processes import ranks_of

pytestmark = [pytest.mark.e2e, pytest.mark.gloo]

RUN = ["nano", *TINY, "learner.processes=2"]


@pytest.mark.slow
@pytest.mark.parametrize(("job_per", "ended"), [("phase", "iteration 1 · solver"), ("iteration", "iteration 1")])
def test_local_mode_goes_on_where_a_rank_was_killed_and_leaves_what_a_run_leaves(
    undisturbed: Undisturbed, tmp_path: Path, job_per: str, ended: str
) -> None:
    command = ["submit", *RUN, "run.name=x", "--local", f"--job-per={job_per}"]
    process = start(tmp_path, *command)
    folder = tmp_path / "runs" / "x"
    while not (folder / "iterations" / "1" / "solver" / "metrics.jsonl").is_file() and process.poll() is None:
        time.sleep(0.05)
    ranks_of("runs/x/jobs/config.yaml")[-1].kill()
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert f"{ended} · ended with code 1; going on with it" in out
    assert final_weights(tmp_path, "x") == undisturbed.weights()

    logs = run(tmp_path, "logs", "runs/x")
    assert "iteration 1 · evaluate · finished" in logs.stdout
    again = run(tmp_path, *command)
    assert again.returncode == 0 and again.stdout == ""


def test_a_configuration_that_cannot_work_ends_it_with_one_line(tmp_path: Path) -> None:
    result = run(tmp_path, "submit", *RUN, "run.name=x", "--local", "placement.gpus_per_node=1")
    assert result.returncode == 2
    (line,) = [line for line in result.stderr.splitlines() if line]
    assert "learner.processes" in line


def test_what_a_job_cannot_be_made_for_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path, "submit", *RUN, "run.name=x", "--local", "--job-per=run")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "rzero-mega: --job-per: 'run' is none of iteration, phase\n"
