"""A cluster of slurm/local in a test: its commands, its jobs and its nodes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT

LOCAL = ROOT / "slurm" / "local"
# What to wait for at most: many times what it takes, for machines that are busy with other things.
PATIENCE_SECONDS = 120.0
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "DEADLINE"}


def command(action: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`cluster.py up|down FOLDER`, ended; a daemon that keeps an output open would make this hang."""
    program = [sys.executable, str(LOCAL / "cluster.py"), action, str(folder), *options]
    return subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


@dataclass(frozen=True)
class VirtualCluster:
    """A running cluster of virtual nodes."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which any program uses this cluster, for instance rzero-mega."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        return own | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": f"{LOCAL / 'bin'}:{os.environ['PATH']}"}

    def run(self, arguments: list[str], timeout: float = 30.0) -> str:
        """Standard output of a client command, which must succeed within the time: without slurmctld they hang.

        A controller on a busy machine may not answer at once: questions, which change nothing, are asked three times.
        """
        for attempt in range(3):
            done = subprocess.run(arguments, env=self.environment, capture_output=True, text=True, timeout=timeout)
            if done.returncode == 0 or not (arguments[0] in ("squeue", "sinfo") or "show" in arguments):
                break
            time.sleep(attempt)
        assert done.returncode == 0, f"{arguments} (exit code {done.returncode}): {done.stderr}"
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submit a bash script with options of sbatch; returns the job's id. Its output goes into the folder."""
        output = f"--output={self.folder}/log/job.%j.out"
        text = f"#!/bin/bash\n{script}\n"
        file = self.folder / "log" / "submitted.sh"
        file.write_text(text)
        return self.run(["sbatch", "--parsable", output, "--open-mode=append", *options, str(file)]).strip()

    def output(self, job: str) -> str:
        """What a job submitted here has written."""
        file = self.folder / "log" / f"job.{job}.out"
        return file.read_text() if file.exists() else ""

    def jobs(self) -> dict[str, dict[str, str]]:
        """All jobs that slurmctld remembers, by id; the fields are those of `scontrol show job`."""
        return {job["JobId"]: job for job in records(self.run(["scontrol", "-o", "show", "job"])) if "JobId" in job}

    def nodes(self) -> dict[str, dict[str, str]]:
        """All nodes, by name; the fields are those of `scontrol show node`."""
        return {node["NodeName"]: node for node in records(self.run(["scontrol", "-o", "show", "node"]))}

    def state(self, job: str) -> str:
        """A job's state as slurmctld names it."""
        return self.jobs()[job]["JobState"]

    def wait(self, job: str, states: set[str] = ENDED) -> str:
        """Wait until a job is in one of the states, by default ended; returns the state."""
        wait_until(lambda: self.state(job) in states, lambda: f"job {job}: {self.jobs()[job]}\n{self.output(job)}")
        return self.state(job)

    def wait_output(self, job: str, text: str) -> None:
        """Wait until a job has written the text."""
        wait_until(lambda: text in self.output(job), lambda: f"job {job}: {self.jobs()[job]}\n{self.output(job)}")

    def reset(self) -> None:
        """Cancel all jobs, wait until they are gone, and put all nodes back to work."""
        self.run(["scancel", "--state=PENDING"])
        self.run(["scancel", "--user", str(os.geteuid())])
        wait_until(lambda: not self.run(["squeue", "-h", "-o", "%A"]).split(), lambda: self.run(["squeue"]))
        for name, node in self.nodes().items():
            if "DRAIN" in node["State"] or "DOWN" in node["State"]:
                self.run(["scontrol", "update", f"NodeName={name}", "State=RESUME"])
        wait_until(lambda: {node["State"] for node in self.nodes().values()} == {"IDLE"}, lambda: str(self.nodes()))


def records(text: str) -> list[dict[str, str]]:
    """Keys and values of each line of `scontrol --oneliner show ...`; a key's first place counts."""
    found = []
    for line in text.splitlines():
        parts = re.split(r"(?:^| )([A-Z][\w/:]*)=", line)
        found.append(dict(reversed(list(zip(parts[1::2], map(str.strip, parts[2::2]), strict=True)))))
    return found


def wait_until(condition: Callable[[], bool], explain: Callable[[], str], patience: float = PATIENCE_SECONDS) -> None:
    """Wait until the condition holds; an assertion fails with the explanation after `patience` seconds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, explain()
        time.sleep(0.1)
