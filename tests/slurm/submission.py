"""`rzero-mega submit` against a cluster of virtual nodes, as a user calls it from a login node."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import ROOT
from tests.slurm.virtual_cluster import VirtualCluster, wait_until
from tests.tiny_nano import SIZES

# NeMo-Run lives in an environment of its own: its dependencies and the learner's exclude each other.
LOGIN_NODE = ROOT / ".venv-slurm" / "bin" / "python"
# Phases long enough for a fault to hit them in the middle, small enough for a test.
NANO = [
    *SIZES,
    "learner.processes=1",
    "evaluation.base_model=false",
    "tracking.wandb=offline",
]


def login_node() -> Path:
    """The Python that has NeMo-Run; skips where there is none."""
    if not LOGIN_NODE.exists():
        pytest.skip("there is no environment with NeMo-Run; make it with: make slurm")
    return LOGIN_NODE


@dataclass(frozen=True)
class Experiment:
    """One run on a cluster: the cluster file, the overrides, and the commands of its user."""

    cluster: VirtualCluster
    folder: Path
    overrides: tuple[str, ...]
    wall_time: str = "00:30:00"
    gpus_per_node: int = 8
    more: str = ""

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "runs" / "x"

    def write_cluster_file(self) -> Path:
        """The file that a site writes."""
        path = self.folder / "cluster.yaml"
        path.write_text(
            f"account: test\npartition: batch\nroot: {self.folder}\nwall_time: '{self.wall_time}'\n"
            f"gpus_per_node: {self.gpus_per_node}\n"
            "grace_s: 50\njobs_per_phase: 4\njobs_per_iteration: 4\nexclusive: false\nenv: {OMP_NUM_THREADS: '1'}\n"
            f"pre_commands: ['export PATH={Path(sys.executable).parent}:$PATH']\n{self.more}"
        )
        return path

    def command(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """`rzero-mega ARGUMENTS` on the login node."""
        done = subprocess.run(
            [str(login_node()), "-m", "rzero_mega", *arguments],
            env=self.cluster.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert not ok or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def submit(self, *options: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Submit what is missing."""
        cluster = f"--cluster={self.write_cluster_file()}"
        return self.command("submit", "nano", *self.overrides, "run.name=x", cluster, *options, ok=ok)

    def phase(self, iteration: int, name: str) -> Path:
        """The folder of a phase."""
        return self.run / "iterations" / str(iteration) / name

    def steps(self, iteration: int, name: str) -> int:
        """Steps that a training phase has logged."""
        metrics = self.phase(iteration, name) / "metrics.jsonl"
        return len(metrics.read_text().splitlines()) if metrics.exists() else 0

    def job_in(self, iteration: int, name: str, at_step: int) -> dict[str, str]:
        """Wait until a job that has the phase runs and so many of its steps are done; the job as Slurm knows it."""
        prefixes = (f".{iteration}-{name}-", f".{iteration}-iteration-")

        def running() -> list[dict[str, str]]:
            jobs = self.cluster.jobs().values()
            running = [job for job in jobs if job["JobState"] == "RUNNING"]
            return [job for job in running if any(prefix in job["JobName"] for prefix in prefixes)]

        self.wait(lambda: bool(running()) and self.steps(iteration, name) >= at_step)
        return running()[0]

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait for something that phases have to come to first."""
        wait_until(condition, self.explain, patience=600.0)

    def is_finished(self, iteration: int, name: str) -> bool:
        """Whether the phase has its manifest."""
        return (self.phase(iteration, name) / "manifest.json").is_file()

    def explain(self) -> str:
        """What a person would look at when something does not happen."""
        queue = self.cluster.run(["squeue", "--format=%A %j %T %r %N"])
        logs = sorted(self.run.glob("jobs/*/rank-0000.log"))
        tail = "\n".join(logs[-1].read_text().splitlines()[-20:]) if logs else ""
        return f"{queue}\n{tail}"
