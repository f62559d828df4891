"""What the commands about jobs do: read the cluster file, submit or show, and say how it went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rzero_mega.cluster.cluster_file import ClusterFile, read_cluster_file
from rzero_mega.cluster.jobs import job_chain, job_prefix
from rzero_mega.cluster.local import run_locally
from rzero_mega.cluster.nemo import write_scripts
from rzero_mega.cluster.paths import with_absolute_paths
from rzero_mega.cluster.record import submitted_jobs
from rzero_mega.cluster.show import Waiting, chain_lines, script_text, show_jobs, submitted_text
from rzero_mega.cluster.slurm import QueuedJob, available, cancel_jobs, queued_jobs
from rzero_mega.cluster.submit import submission_of, unfinished
from rzero_mega.cluster.submit import submit as submit_missing
from rzero_mega.cluster.submit import wait as wait_for
from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.coevolution.stretch import checked_per
from rzero_mega.config import Config, to_yaml
from rzero_mega.errors import UserError
from rzero_mega.recipes import load_recipe
from rzero_mega.run import RunDirectory
from rzero_mega.run.local import stop_writer
from rzero_mega.terminal import new_console, say

LOCAL_ATTEMPTS = 3


def read_cluster(file: Path, job_per: str | None) -> ClusterFile:
    """The cluster file, with what jobs are made for in place of what it says. UserError names file and key."""
    cluster = read_cluster_file(file)
    return cluster if job_per is None else replace(cluster, job_per=checked_per(job_per))


def submit(
    recipe: str,
    overrides: Sequence[str],
    cluster: ClusterFile,
    dry_run: bool,
    wait: bool,
    check: Callable[[Config], None],
) -> int:
    """Submit what is missing; returns the exit code. `check` raises UserError for what would fail in a job.

    The code is 1 if it waited and jobs ended without finishing the run, 130 if the waiting was interrupted.
    """
    # The run has to lie where all nodes see it.
    config: Config = load_recipe(recipe, [*overrides, f"run.root={cluster.runs}"])
    config = with_absolute_paths(config, Path.cwd())
    check(config)
    if dry_run:
        print_dry_run(config, cluster)
        return 0
    done = submit_missing(config, cluster)
    say(submitted_text(done))
    if not wait:
        return 0
    return _wait(config, RunDirectory.open_existing(done.run))


def run_here(config: Config, dry_run: bool, job_per: str | None) -> int:
    """Local mode; returns the exit code. UserError for a `job_per` that there is not; None is the default."""
    here = ClusterFile(account="", root=str(Path(config.run.root).absolute()), gpus_per_node=0)
    per = checked_per(job_per)
    if dry_run:
        say(to_yaml(config))
        say("\n".join(chain_lines(job_chain(iteration_plan(config), per, links=1))))
        return 0
    return run_locally(config, submission_of(config, here), per, LOCAL_ATTEMPTS)


def cancel(run: RunDirectory) -> str:
    """Cancel all jobs of the run, or end the process of this machine that writes it; a line that says what was done."""
    # Of a run that was never submitted Slurm knows nothing, and need not be there.
    queue = queued_jobs(job_prefix(run.path)) if submitted_jobs(run.path) else []
    if queue:
        cancel_jobs([job.job_id for job in queue])
        return f"{len(queue)} jobs cancelled; submit again to go on"
    return "ended; the same command goes on" if stop_writer(run) else "no job or process is queued or running"


def jobs_of(run: RunDirectory) -> list[QueuedJob]:
    """The run's jobs that Slurm has; none without Slurm's clients, or with a line where Slurm does not answer."""
    if not available():
        return []
    try:
        return queued_jobs(job_prefix(run.path))
    except UserError as error:
        say(f"jobs: {error}", error=True)
        return []


def print_dry_run(config: Config, cluster: ClusterFile) -> None:
    """The configuration, the jobs, and the scripts of the first of each phase, or iteration."""
    submission = submission_of(config, cluster)
    jobs = job_chain(iteration_plan(config), cluster.job_per, cluster.links)
    first = [job for job in jobs if job.link == 1]
    scripts = write_scripts(first, cluster, submission)
    say(to_yaml(config))
    say(f"# run directory: {submission.run}\n")
    for line in chain_lines(jobs):
        say(f"# {line}")
    for job in first:
        say(f"\n{script_text(job, scripts[job.name])}")
    per = cluster.job_per
    say(f"# Of each {per} further jobs have the same scripts, but for their names and, in the last, last_attempt=1.")


def _wait(config: Config, run: RunDirectory) -> int:
    try:
        with Waiting(run.path.name, len(iteration_plan(config)), new_console()) as shown:
            finished = wait_for(config, run, shown.update)
    except KeyboardInterrupt:
        say(f"not waiting any more; the jobs go on: rzero-mega status {run.path}", error=True)
        return 130
    if finished:
        say(f"finished: {run.path}")
        return 0
    show_jobs(new_console(), run.path, jobs_of(run))
    left = unfinished(config, run)
    say(f"{len(left)} phases are not finished, the first is {left[0].iteration}/{left[0].name}", error=True)
    return 1
