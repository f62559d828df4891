"""Submitting, and being told the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.submission import NANO, Experiment
from tests.slurm.virtual_cluster import VirtualCluster

pytestmark = pytest.mark.slurm

SHORT = ("iterations=1", "ablation=untrained_challenger", "solver.training.steps=2")


@pytest.fixture
def experiment(cluster: VirtualCluster, tmp_path: Path) -> Experiment:
    cluster.reset()
    return Experiment(cluster, tmp_path, (*NANO, *SHORT))


def names(experiment: Experiment) -> list[str]:
    return [line.partition(".")[2] for line in experiment.cluster.run(["squeue", "-h", "-o", "%j"]).split()]


def test_a_dry_run_shows_configuration_jobs_and_scripts_and_leaves_nothing(experiment: Experiment) -> None:
    shown = experiment.submit("--dry-run").stdout
    assert "recipe: nano" in shown
    assert "1-iteration-2    iteration 1 · job 2 of 4 · after the end of 1-iteration-1" in shown
    assert "#SBATCH --job-name=rz-x-" in shown
    assert sorted(path.name for path in experiment.folder.iterdir()) == ["cluster.yaml"]
    assert names(experiment) == []


def test_a_run_that_cannot_work_says_why_and_waits_for_nothing(experiment: Experiment) -> None:
    broken = Experiment(experiment.cluster, experiment.folder, (*NANO, *SHORT, "model.path=/no/such/model"))
    done = broken.submit("--wait", ok=False)
    assert done.returncode == 1
    assert "last job ended with code 2: model.path /no/such/model" in done.stdout
    assert "4 phases are not finished, the first is 1/questions" in done.stderr
    assert names(experiment) == []
    status = broken.command("status", str(broken.run)).stdout
    assert "no job is queued or running" in status and "/no/such/model" in status


def test_a_second_submission_adds_what_is_missing_and_replaces_what_waits_for_nothing(experiment: Experiment) -> None:
    for node in experiment.cluster.nodes():  # nothing is to start while jobs are looked at
        experiment.cluster.run(["scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test"])
    first = experiment.submit("--job-per=phase")
    assert "16 jobs submitted" in first.stdout
    assert "16 of earlier submissions are still queued" in experiment.submit().stdout

    jobs = [job for job in experiment.cluster.jobs().values() if job["JobState"] == "PENDING"]
    labels = [job["JobId"] for job in jobs if ".1-labels-" in job["JobName"]]
    experiment.cluster.run(["scancel", *labels])
    again = experiment.submit("--job-per=phase").stdout
    assert "12 jobs submitted; 4 of earlier submissions are still queued" in again
    assert "8 that nobody could have served were cancelled" in again
    kept = next(job for job in jobs if job["JobName"].endswith("1-questions-4"))
    queue = experiment.cluster.jobs().values()
    waiting = next(job for job in queue if "labels-1" in job["JobName"] and job["JobState"] == "PENDING")
    assert f"afterany:{kept['JobId']}" in waiting["Dependency"]

    other = Experiment(experiment.cluster, experiment.folder, (*NANO, *SHORT, "seed=9"))
    assert "16 of earlier submissions are still queued" in other.submit().stdout
    # Nothing is done, so the jobs that wait do another run.
    assert "seed: 9\n" in (experiment.run / "jobs" / "config.yaml").read_text()
    experiment.command("cancel", str(experiment.run))
    assert names(experiment) == []


def test_recipes_and_clusters_of_different_nodes_are_refused(experiment: Experiment) -> None:
    refused = experiment.command(
        "submit", "nano", "placement.gpus_per_node=4", f"--cluster={experiment.write_cluster_file()}", ok=False
    )
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert "gpus_per_node" in line and "placement.gpus_per_node" in line
