"""Jobs over two nodes: the learner's ranks meet over the network, servers run where no rank does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.submission import NANO, Experiment
from tests.slurm.virtual_cluster import VirtualCluster

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

SHORT = ("iterations=1", "ablation=untrained_challenger", "solver.training.steps=3")
NO_EVALUATION = ("evaluation.benchmarks=[]", "labels.gauges.questions=0")
ON_TWO = ("placement.nodes=2", "placement.gpus_per_node=8")


def solver(run: Path) -> bytes:
    return (run / "iterations/1/solver/model/model.safetensors").read_bytes()


def test_a_learner_over_two_nodes_ends_with_the_weights_of_one_over_two_processes(
    cluster: VirtualCluster, tmp_path: Path
) -> None:
    cluster.reset()
    overrides = (*NANO, *SHORT, "learner.processes=2", "placement.nodes=2", "placement.gpus_per_node=1")
    folder = tmp_path / "shared"
    folder.mkdir()
    experiment = Experiment(cluster, folder, overrides, gpus_per_node=1)
    experiment.submit("--wait")

    here = ["run", "nano", *NANO, *SHORT, "learner.processes=2", "run.name=x", f"run.root={tmp_path / 'here'}"]
    done = subprocess.run(
        [sys.executable, "-m", "rzero_mega", *here],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert solver(experiment.run) == solver(tmp_path / "here" / "x")
    jobs = {path.parent.name for path in experiment.run.glob("jobs/*/rank-0001.log")}
    assert len(jobs) == 1
    assert not list(experiment.run.glob("jobs/*/key"))


@pytest.mark.sglang
@pytest.mark.parametrize(("job_per", "servers"), [("phase", 3), ("iteration", 2)])
def test_servers_on_a_node_without_ranks_speak_for_the_policies_as_long_as_their_job_lasts(
    cluster: VirtualCluster, tmp_path: Path, job_per: str, servers: int
) -> None:
    from rzero_mega.rollout.sglang.server.process import installed

    if not installed():
        pytest.skip("SGLang is not installed: make sglang-cpu")
    cluster.reset()
    split = ("rollout.engine=sglang", "placement.servers=split", "placement.nodes=2", "placement.gpus_per_node=1")
    short = ("iterations=1", "ablation=untrained_challenger", "solver.training.steps=2", *NO_EVALUATION)
    experiment = Experiment(cluster, tmp_path, (*NANO, *short, *split), gpus_per_node=1)
    done = experiment.submit("--wait", f"--job-per={job_per}")
    assert f"finished: {experiment.run}" in done.stdout

    addresses = [json.loads(path.read_text()) for path in experiment.run.glob("jobs/*/node0001/*.address.json")]
    # By phase one each in questions, labels, solver; by iteration one of each role.
    assert len(addresses) == servers
    assert {address["state"] for address in addresses} == {"ended"}
    rows = (experiment.phase(1, "solver") / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(row)["probe_difference"] < 1e-4 for row in rows)
