"""One job for an iteration: killed in the middle of it, the next goes on at its phase, to the bytes of `run`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from tests.slurm.submission import NANO, Experiment
from tests.slurm.virtual_cluster import VirtualCluster

pytestmark = [pytest.mark.slurm]

SHORT = (*NANO, "iterations=1", "challenger.training.steps=2", "solver.training.steps=8")


def models(run: Path) -> dict[str, bytes]:
    phases = run / "iterations" / "1"
    return {role: (phases / role / "model" / "model.safetensors").read_bytes() for role in ("challenger", "solver")}


def test_an_iteration_is_one_job_and_goes_on_in_the_next_at_the_phase_in_which_it_was_killed(
    cluster: VirtualCluster, tmp_path: Path
) -> None:
    cluster.reset()
    folder = tmp_path / "shared"
    folder.mkdir()
    experiment = Experiment(cluster, folder, SHORT, more="jobs_per_iteration: 3\n")
    assert "3 jobs submitted" in experiment.submit("--job-per=iteration").stdout
    jobs = [job for job in cluster.jobs().values() if ".1-iteration-" in job["JobName"]]
    first, second, third = sorted(jobs, key=lambda job: job["JobName"])
    assert "3 of earlier submissions are still queued or running" in experiment.submit().stdout
    assert "all (1)" in experiment.command("status", str(experiment.run)).stdout

    experiment.wait(lambda: experiment.steps(1, "solver") >= 2)
    cluster.run(["scancel", first["JobId"]])
    assert f"finished: {experiment.run}" in experiment.submit("--wait").stdout
    assert [cluster.state(job["JobId"]) for job in (first, second, third)] == ["CANCELLED", "COMPLETED", "CANCELLED"]

    manifests = [RunDirectory.open_existing(experiment.run).phase(1, name).manifest() for name in PhaseName]
    assert [manifest and manifest.attempts for manifest in manifests] == [1, 1, 1, 2, 1]
    assert experiment.steps(1, "solver") == 8

    here = ["run", "nano", *SHORT, "run.name=x", f"run.root={tmp_path / 'here'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "rzero_mega", *here], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert models(experiment.run) == models(tmp_path / "here" / "x")
