"""Jobs handed to Slurm by NeMo-Run, and their scripts looked at without submitting. The one file that knows NeMo-Run.

NeMo-Run writes the batch scripts, packages nothing (the code comes with the container or the environment), submits
with dependencies and records the experiment under `root`/nemo. Status and cancelling need Slurm alone: see `slurm`.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rzero_mega.cluster.cluster_file import ClusterFile
from rzero_mega.cluster.jobs import ChainedJob, job_prefix
from rzero_mega.cluster.script import Submission, batch_lines, step_script
from rzero_mega.errors import UserError, first_line

# Which cluster, and how to speak to it.
_OF_THE_CLUSTER = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_TIME_FORMAT")
INSTALL = "NeMo-Run is not installed here; `make slurm` makes an environment with it, for the login node alone"


@dataclass(frozen=True)
class Scripts:
    """What NeMo-Run wrote for a job: the batch script, and the step that it starts on every node."""

    batch: str
    step: str


def submit_jobs(jobs: Sequence[ChainedJob], cluster: ClusterFile, submission: Submission) -> dict[str, str]:
    """Submit the jobs; returns Slurm's job ids by the jobs' names.

    PartlySubmitted says why a submission broke off, and which jobs Slurm has by then.
    """
    with _experiment(jobs, cluster, submission, cluster.nemo_run_home) as experiment:
        try:
            experiment.run(detach=True)
        except Exception as error:
            raise PartlySubmitted(_job_ids(experiment), first_line(error)) from error
        job_ids = _job_ids(experiment)
    if len(job_ids) < len(jobs):
        raise PartlySubmitted(job_ids, f"Slurm took {len(job_ids)} of {len(jobs)} jobs")
    return job_ids


class PartlySubmitted(UserError):
    """A submission broke off; `job_ids` are those of the jobs that Slurm has, by name."""

    def __init__(self, job_ids: Mapping[str, str], why: str) -> None:
        """`why` is one line."""
        super().__init__(f"submission failed: {why}")
        self.job_ids = dict(job_ids)


def write_scripts(jobs: Sequence[ChainedJob], cluster: ClusterFile, submission: Submission) -> dict[str, Scripts]:
    """The exact scripts of the jobs by name; nothing is submitted.

    Dependencies are not in them: NeMo-Run gives them to sbatch, since Slurm gives a job its id when it takes it.
    """
    with TemporaryDirectory() as home, _experiment(jobs, cluster, submission, Path(home)) as experiment:
        experiment.dryrun(log=False, delete_exp_dir=False)
        folder = Path(experiment._exp_dir)

        def text(file: str) -> str:
            return (folder / file).read_text(encoding="utf-8").replace(home, str(cluster.nemo_run_home))

        names = [job.name for job in jobs]
        return {n: Scripts(batch=text(f"{n}_sbatch.sh"), step=text(f"{n}/scripts/{n}.sh")) for n in names}


def of_a_session(environ: Mapping[str, str]) -> list[str]:
    """The variables of an allocation in which somebody submits: sbatch would hand them on, and srun obey them."""
    return [name for name in environ if name.startswith("SLURM_") and name not in _OF_THE_CLUSTER]


@contextmanager
def _experiment(jobs: Sequence[ChainedJob], cluster: ClusterFile, submission: Submission, home: Path) -> Iterator[Any]:
    """A NeMo-Run experiment that holds the jobs. NeMo-Run reads where its files go when it is imported."""
    os.environ["NEMORUN_HOME"] = str(home)
    for name in of_a_session(os.environ):
        del os.environ[name]
    try:
        import nemo_run
    except ModuleNotFoundError as error:
        raise UserError(f"{INSTALL} ({first_line(error)})") from None
    # A line for every job that is launched; what was submitted is said once, by the command.
    logging.getLogger("nemo_run").setLevel(logging.WARNING)
    names = {job.name for job in jobs}
    with nemo_run.Experiment(submission.run.name, enable_goodbye_message=False, clean_mode=True) as found:
        for job in jobs:
            found.add(
                nemo_run.Script(inline=step_script(job, cluster, submission)),
                executor=_executor(nemo_run, job, cluster, submission),
                name=job.name,
                dependencies=[job.after] if job.after in names else None,
            )
        yield found


def _executor(nemo_run: Any, job: ChainedJob, cluster: ClusterFile, submission: Submission) -> Any:
    more: dict[str, Any] = {}
    if job.link == 1 and job.after is not None and job.after.isdigit():
        more["dependency"] = f"afterany:{job.after}"
    if cluster.reservation is not None:
        more["reservation"] = cluster.reservation
    shared = f"{cluster.root}:{cluster.root}"
    return nemo_run.SlurmExecutor(
        account=cluster.account,
        partition=cluster.partition,
        qos=cluster.qos,
        constraint=cluster.constraint,
        exclude=cluster.exclude,
        exclusive=cluster.exclusive or None,
        cpus_per_task=cluster.cpus_per_task,
        mem=cluster.mem,
        nodes=submission.nodes,
        ntasks_per_node=1,
        gpus_per_node=cluster.gpus_per_node or None,
        time=cluster.job_wall_time,
        signal=f"USR1@{cluster.grace_s}",
        job_name_prefix=job_prefix(submission.run),
        dependency_type="afterany",
        container_image=cluster.container_image,
        container_mounts=[shared, *cluster.mounts],
        env_vars={name: shlex.quote(value) for name, value in cluster.env.items()},
        setup_lines=batch_lines(job, cluster, submission),
        additional_parameters=more or None,
        tunnel=nemo_run.LocalTunnel(job_dir=""),
        packager=nemo_run.Packager(),
        poll_estimated_start_time=False,
    )


def _job_ids(experiment: Any) -> dict[str, str]:
    """Slurm's job ids out of NeMo-Run's handles, slurm_tunnel://nemo_run/<id>."""
    handles = {job.id: str(job.handle) for job in experiment.jobs if job.handle}
    return {name: handle.rsplit("/", 1)[-1] for name, handle in handles.items()}
