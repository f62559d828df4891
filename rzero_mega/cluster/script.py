"""The shell of a job: what the batch script does before and after the step, and the step itself. Pure.

NeMo-Run writes the batch script around it: parameters, and one `srun` that starts the step once on every node.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from rzero_mega.cluster.cluster_file import ClusterFile
from rzero_mega.cluster.jobs import ChainedJob, job_prefix
from rzero_mega.run import PhaseDirectory


@dataclass(frozen=True)
class Submission:
    """What the jobs of one submission share: the run's folder, the file with its configuration, and its nodes."""

    run: Path
    config: Path
    nodes: int


def batch_lines(job: ChainedJob, cluster: ClusterFile, submission: Submission) -> str:
    """What runs on the job's first node, outside any container, before the step; and, through a trap, after it."""
    return _fill(
        "batch.sh.j2",
        manifests=[PhaseDirectory(submission.run, job.stretch.iteration, p).manifest_path for p in job.phases],
        failed_nodes=submission.run / "jobs" / "failed_nodes",
        all_jobs=job_prefix(submission.run),
        own_jobs=job_prefix(submission.run) + job.stretch_prefix,
        last=job.link == job.links,
        partition=cluster.partition,
        nodes=submission.nodes,
        exclude=cluster.exclude,
        secrets_file=cluster.secrets_file,
    )


def step_script(job: ChainedJob, cluster: ClusterFile, submission: Submission) -> str:
    """What runs once on every node, inside the container where there is one."""
    return _fill(
        "step.sh.j2",
        config=submission.config,
        stretch=job.stretch.words,
        pre_commands=cluster.pre_commands,
        logs=submission.run / "jobs" / "JOB-RESTART" / "rank-NNNN.log",
    )


def _fill(name: str, **values: object) -> str:
    text = (resources.files("rzero_mega.cluster") / "templates" / name).read_text(encoding="utf-8")
    # These are shell scripts: what is filled in is quoted for the shell, not escaped for HTML.
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    return environment.from_string(text).render(**values)
