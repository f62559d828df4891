"""Slurm's own clients, asked with a time limit: what became of jobs, and cancelling them. Needs no NeMo-Run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.errors import UserError

TIMEOUT_S = 60.0
_WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "CONFIGURING", "RESV_DEL_HOLD")


class SlurmError(UserError):
    """A client failed or did not answer in time; the controller may be back in a minute."""


@dataclass(frozen=True)
class QueuedJob:
    """A job that Slurm still has. `reason` is why it waits, `nodes` where it runs; empty where there is none."""

    job_id: str
    name: str
    state: str
    reason: str
    nodes: str
    used: str

    @property
    def waits(self) -> bool:
        """Whether it is in the queue, and not on nodes."""
        return self.state in _WAITING


def available() -> bool:
    """Whether this machine has Slurm's clients."""
    return shutil.which("squeue") is not None


def queued_jobs(prefix: str) -> list[QueuedJob]:
    """This user's jobs whose name begins with `prefix`, in the order of their ids."""
    out = _client("squeue", "--me", "--noheader", "--states=all", "--format=%A|%j|%T|%r|%N|%M")
    jobs = []
    for line in out.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 6 and fields[1].startswith(prefix):
            job_id, name, state, reason, nodes, used = fields
            jobs.append(QueuedJob(job_id, name, state, "" if reason == "None" else reason, nodes, used))
    alive = [job for job in jobs if not _ended(job.state)]
    return sorted(alive, key=lambda job: int(job.job_id))


def node_names(partition: str | None) -> set[str]:
    """The nodes of a partition, in whatever state; of all partitions where none is named."""
    where = [f"--partition={partition}"] if partition is not None else []
    return set(_client("sinfo", "--noheader", "--Node", "--format=%N", *where).split())


def cancel_jobs(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended meanwhile are left alone by Slurm."""
    if job_ids:
        _client("scancel", *job_ids)


def _ended(state: str) -> bool:
    # COMPLETING still holds nodes, and may come back into the queue.
    return state in (
        "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
        "OUT_OF_MEMORY", "REVOKED",
    )  # fmt: skip


def _client(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise UserError(f"{command[0]}: not found; run this on a machine of the cluster, or see slurm/local")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]}: Slurm's controller did not answer in {TIMEOUT_S:g} s; try again") from None
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise SlurmError(f"{command[0]}: {reason[-1] if reason else f'exit code {done.returncode}'}")
    return done.stdout
