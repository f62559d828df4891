"""One job for a phase: what is left of a run whose jobs were all killed goes on as an iteration, to `run`'s bytes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rzero_mega.cluster.jobs import job_prefix
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from tests.slurm.submission import NANO, Experiment
from tests.slurm.virtual_cluster import VirtualCluster

pytestmark = [pytest.mark.slurm]

SHORT = (*NANO, "iterations=1", "challenger.training.steps=2", "solver.training.steps=8")


def models(run: Path) -> dict[str, bytes]:
    phases = run / "iterations" / "1"
    return {role: (phases / role / "model" / "model.safetensors").read_bytes() for role in ("challenger", "solver")}


def test_phases_are_jobs_and_one_of_the_iteration_goes_on_where_they_were_killed(
    cluster: VirtualCluster, tmp_path: Path
) -> None:
    cluster.reset()
    folder = tmp_path / "shared"
    folder.mkdir()
    experiment = Experiment(cluster, folder, SHORT, more="job_per: phase\n")
    for node in cluster.nodes():  # nothing is to start while jobs are looked at
        cluster.run(["scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test"])
    assert "20 jobs submitted" in experiment.submit().stdout
    assert "20 of earlier submissions are still queued or running" in experiment.submit("--job-per=iteration").stdout
    assert "evaluate (4)" in experiment.command("status", str(experiment.run)).stdout
    for node in cluster.nodes():
        cluster.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"])

    killed = experiment.job_in(1, "solver", at_step=2)
    assert killed["JobName"].endswith(".1-solver-1")
    cluster.run(["scancel", "--state=PENDING"])
    cluster.run(["scancel", "--user", str(os.geteuid())])
    experiment.wait(lambda: not cluster.run(["squeue", "-h"]).split())
    done = experiment.submit("--job-per=iteration", "--wait").stdout
    assert "4 jobs submitted" in done and f"finished: {experiment.run}" in done
    prefix = f"{job_prefix(experiment.run)}1-iteration-"
    jobs = [job for job in cluster.jobs().values() if job["JobName"].startswith(prefix)]
    assert sorted(job["JobState"] for job in jobs) == ["CANCELLED", "CANCELLED", "CANCELLED", "COMPLETED"]

    run, names = (
        RunDirectory.open_existing(experiment.run),
        [name for name in PhaseName if name not in ("verifier", "critic")],
    )
    manifests = [run.phase(1, name).manifest() for name in names]
    assert [manifest and manifest.attempts for manifest in manifests] == [1, 1, 1, 2, 1]
    assert experiment.steps(1, "solver") == 8

    here = ["run", "nano", *SHORT, "run.name=x", f"run.root={tmp_path / 'here'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done_here = subprocess.run(
        [sys.executable, "-m", "rzero_mega", *here], env=environment, capture_output=True, text=True
    )
    assert done_here.returncode == 0, done_here.stderr
    assert models(experiment.run) == models(tmp_path / "here" / "x")
