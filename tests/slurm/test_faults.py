"""An experiment of two iterations on two nodes, hit by everything that happens on a cluster, loses nothing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import ranks_of
from tests.slurm.submission import NANO, Experiment
from tests.slurm.virtual_cluster import VirtualCluster

pytestmark = [pytest.mark.slurm]

STEPS = 8
OVERRIDES = (
    *NANO,
    "iterations=2",
    f"challenger.training.steps={STEPS}",
    f"solver.training.steps={STEPS}",
)
MODELS = [(iteration, role) for iteration in (1, 2) for role in ("challenger", "solver")]


@pytest.fixture
def undisturbed(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """The same run without a scheduler, begun beside the other; called, it waits for the end and returns its folder."""
    folder = tmp_path / "undisturbed"
    command = [sys.executable, "-m", "rzero_mega", "run", "nano", *OVERRIDES, "run.name=x", f"run.root={folder}"]
    with (tmp_path / "undisturbed.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})

    def wait() -> Path:
        assert process.wait(900) == 0, Path(log.name).read_text()
        return folder / "x"

    try:
        yield wait
    finally:
        process.kill()
        process.wait()


def weights(run: Path) -> dict[str, bytes]:
    return {
        f"{iteration}/{role}": (run / "iterations" / str(iteration) / role / "model/model.safetensors").read_bytes()
        for iteration, role in MODELS
    }


def rank_of(experiment: Experiment) -> psutil.Process:
    """The process of the learner that works on this run."""
    ranks = ranks_of(str(experiment.run / "jobs" / "config.yaml"))
    assert ranks, experiment.explain()
    return ranks[0]


def was_asked_to_stop(process: psutil.Process) -> bool:
    """Whether SIGUSR1 waits for the process."""
    pending = re.search(r"^ShdPnd:\s*([0-9a-f]+)$", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
    assert pending is not None
    return bool(int(pending[1], 16) >> (signal.SIGUSR1 - 1) & 1)


@pytest.fixture
def experiment(start_cluster: Callable[..., VirtualCluster], tmp_path: Path) -> Experiment:
    return Experiment(start_cluster("--nodes", "2", "--gpus", "8"), tmp_path, OVERRIDES)


def test_a_run_that_meets_every_fault_ends_with_the_weights_of_an_undisturbed_one(
    experiment: Experiment, undisturbed: Callable[[], Path]
) -> None:
    cluster = experiment.cluster
    experiment.submit()

    # scancel: the iteration's next job goes on.
    job = experiment.job_in(1, "challenger", at_step=2)
    cluster.run(["scancel", job["JobId"]])
    experiment.wait(lambda: cluster.state(job["JobId"]) == "CANCELLED")

    # A node is drained: its job ends in peace, that of the next iteration runs elsewhere.
    job = experiment.job_in(1, "solver", at_step=2)
    drained = job["NodeList"]
    cluster.run(["scontrol", "update", f"NodeName={drained}", "State=DRAIN", "Reason=test"])
    job = experiment.job_in(2, "challenger", at_step=2)
    assert job["NodeList"] != drained
    assert experiment.is_finished(1, "solver")
    cluster.run(["scontrol", "update", f"NodeName={drained}", "State=RESUME"])

    # The wall time comes: told to stop in time, the job saves, and the iteration's next job goes on.
    # Slurm looks at the time every half minute: the rank is held in its step until then, as a longer one would take.
    rank = rank_of(experiment)
    rank.suspend()
    cluster.run(["scontrol", "update", f"JobId={job['JobId']}", "EndTime=now+45"])
    experiment.wait(lambda: was_asked_to_stop(rank))
    rank.resume()
    experiment.wait(lambda: cluster.state(job["JobId"]) in ("FAILED", "COMPLETED", "TIMEOUT"))
    end = json.loads((experiment.run / "jobs" / f"{job['JobId']}-0" / "ended.json").read_text())
    assert end["code"] == 75 and "stopped and saved" in end["why"]

    # Preemption: Slurm puts the job back into the queue, and it goes on under the same number.
    job = experiment.job_in(2, "solver", at_step=2)
    urgent = cluster.submit("sleep 1", "--partition=urgent", f"--nodelist={job['NodeList']}", "--exclusive")
    cluster.wait(urgent, {"COMPLETED"})
    experiment.wait(lambda: cluster.jobs()[job["JobId"]]["Restarts"] == "1")

    # A rank is killed: the job ends, the next one avoids the node.
    again = experiment.job_in(2, "solver", at_step=3)
    assert again["JobId"] == job["JobId"]
    experiment.wait(lambda: (experiment.run / "jobs" / f"{again['JobId']}-1" / "rank-0000.log").exists())
    rank_of(experiment).send_signal(signal.SIGKILL)
    experiment.wait(lambda: cluster.state(again["JobId"]) == "FAILED")
    end = json.loads((experiment.run / "jobs" / f"{again['JobId']}-1" / "ended.json").read_text())
    assert end["why"] == f"rank 0 was killed by SIGKILL on node {again['NodeList']}"
    assert (experiment.run / "jobs" / "failed_nodes").read_text().split() == [again["NodeList"]]
    experiment.wait(lambda: experiment.is_finished(2, "solver"))

    # Everything is cancelled, and submitted again: only what is missing.
    experiment.command("cancel", str(experiment.run))
    experiment.wait(lambda: not cluster.run(["squeue", "-h"]).split())
    done = experiment.submit("--wait")
    assert f"finished: {experiment.run}" in done.stdout
    last = [job for job in cluster.jobs().values() if "2-iteration" in job["JobName"]]
    assert again["NodeList"] not in {job["NodeList"] for job in last if job["JobState"] == "COMPLETED"}

    assert weights(experiment.run) == weights(undisturbed())
    for iteration, role in MODELS:
        assert experiment.steps(iteration, role) == STEPS
    assert "nothing to submit" in experiment.submit().stdout
