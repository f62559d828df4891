"""`rzero-mega submit`: whatever a run still needs, as jobs; and waiting for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rzero_mega.atomic import write_text
from rzero_mega.cluster.cluster_file import ClusterFile
from rzero_mega.cluster.jobs import ChainedJob, job_chain, job_prefix, missing_phases, stretch_of
from rzero_mega.cluster.nemo import PartlySubmitted, submit_jobs
from rzero_mega.cluster.record import record_submission
from rzero_mega.cluster.script import Submission
from rzero_mega.cluster.slurm import QueuedJob, SlurmError, cancel_jobs, node_names, queued_jobs
from rzero_mega.coevolution.plan import PhasePlan, iteration_plan
from rzero_mega.config import Config, to_yaml
from rzero_mega.config.placement import placement_of
from rzero_mega.errors import UserError
from rzero_mega.evaluation.texts import run_texts
from rzero_mega.own_file import own_folder
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory, run_path
from rzero_mega.run.job import failed_nodes
from rzero_mega.run.lock import RunLock

WAIT_S = 10.0


@dataclass(frozen=True)
class Submitted:
    """What a submission did: jobs submitted now, with Slurm's job ids, and those that were waiting or running.

    `last` is the id of the job at the end of the run's chain, None if none is left.
    """

    run: Path
    jobs: tuple[ChainedJob, ...]
    job_ids: dict[str, str]
    kept: int
    cancelled: int
    last: str | None


def submission_of(config: Config, cluster: ClusterFile) -> Submission:
    """Where the run of a configuration lies on the cluster; UserError if recipe and cluster do not fit each other."""
    placement = placement_of(config)
    per_node = config.placement.gpus_per_node
    if cluster.gpus_per_node not in (0, per_node):
        raise UserError(
            f"gpus_per_node: the cluster's nodes have {cluster.gpus_per_node}, the recipe wants {per_node} "
            "(placement.gpus_per_node); make the two equal"
        )
    run = run_path(config)
    if "/nemo_run" in str(run):
        raise UserError(f"run.name: NeMo-Run puts another path in place of /nemo_run in {run}; choose another")
    return Submission(run, run / "jobs" / "config.yaml", placement.nodes)


def submit(config: Config, cluster: ClusterFile, after: str | None = None) -> Submitted:
    """Create the run where it does not exist, and submit the phases that are neither finished nor waiting already.

    Jobs that wait for a phase which nobody does are cancelled and submitted anew. `after` is the id of another run's
    job that the first one waits for, where the run has none itself. UserError, before anything is submitted, for a
    configuration that is not the run's.
    """
    submission = submission_of(config, cluster)
    run = prepare(config, submission)
    lock = RunLock(submission.run / "jobs" / ".lock")
    try:
        write_text(submission.config, to_yaml(config))
        return _submit_missing(config, run, _avoiding(cluster, submission), submission, after)
    finally:
        lock.release()


def prepare(config: Config, submission: Submission) -> RunDirectory:
    """Create the run and the folder of its jobs where they do not exist; the run, open for reading.

    While a job has it, only that job may write into it.
    """
    path = submission.run
    if not (path / "run.json").is_file():
        RunDirectory.create_or_open(path, config, writer=True, texts=run_texts(config)).close()
    run = RunDirectory.create_or_open(path, config, writer=False, texts=run_texts(config))
    own_folder(submission.config.parent)
    return run


def _submit_missing(
    config: Config, run: RunDirectory, cluster: ClusterFile, submission: Submission, after: str | None
) -> Submitted:
    queue = queued_jobs(job_prefix(submission.run))
    waiting = [stretch_of(job.name, submission.run) for job in queue]
    missing, useless = missing_phases(iteration_plan(config), finished_phases(run), waiting)
    doomed = [job.job_id for job, stretch in zip(queue, waiting, strict=True) if stretch in useless]
    cancel_jobs(doomed)
    kept = [job for job in queue if job.job_id not in doomed]
    jobs = job_chain(missing, cluster.job_per, cluster.links, after=kept[-1].job_id if kept else after)
    job_ids: dict[str, str] = {}
    try:
        job_ids = submit_jobs(jobs, cluster, submission) if jobs else {}
    except PartlySubmitted as broken:
        cancel_jobs(list(broken.job_ids.values()))
        raise UserError(f"{broken}; the {len(broken.job_ids)} jobs submitted before it were cancelled") from None
    record_submission(submission.run, jobs, job_ids)
    last = job_ids[jobs[-1].name] if jobs else kept[-1].job_id if kept else None
    return Submitted(submission.run, tuple(jobs), job_ids, len(kept), len(doomed), last)


def finished_phases(run: RunDirectory) -> set[tuple[int, PhaseName]]:
    """(iteration, phase) of what is finished."""
    return {(phase.iteration, phase.phase) for phase in run.phases() if phase.manifest() is not None}


def unfinished(config: Config, run: RunDirectory) -> list[PhasePlan]:
    """The phases of the plan that are left, in order."""
    done = finished_phases(run)
    return [phase for phase in iteration_plan(config) if (phase.iteration, phase.name) not in done]


def wait(config: Config, run: RunDirectory, show: Callable[[int, Sequence[QueuedJob]], None]) -> bool:
    """Return when no job of the run is left; whether every phase is finished. `show` gets phases left, and jobs.

    A controller that does not answer is asked again.
    """
    while True:
        left = unfinished(config, run)
        try:
            queue = queued_jobs(job_prefix(run.path))
        except SlurmError:
            time.sleep(WAIT_S)
            continue
        show(len(left), queue)
        if not queue:
            return not unfinished(config, run)
        time.sleep(min(WAIT_S, 1.0) if not left else WAIT_S)


def _avoiding(cluster: ClusterFile, submission: Submission) -> ClusterFile:
    """The cluster without the nodes on which something of this run died, as long as enough others are left."""
    failed = failed_nodes(submission.run)
    if not failed or len(node_names(cluster.partition) - set(failed)) < submission.nodes:
        return cluster
    return replace(cluster, exclude=",".join([*([cluster.exclude] if cluster.exclude else []), *failed]))
