"""RUN/jobs/submissions.jsonl: which jobs a run was given, so that any shell can ask about them later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rzero_mega.atomic import append_line, read_jsonl
from rzero_mega.cluster.jobs import PhaseJob
from rzero_mega.errors import UserError
from rzero_mega.run.events import now


@dataclass(frozen=True)
class SubmittedJob:
    """One job as it was submitted; `job_id` is Slurm's."""

    job_id: str
    iteration: int
    phase: str
    link: int
    submitted: str


def record_submission(run: Path, jobs: Sequence[PhaseJob], job_ids: Mapping[str, str]) -> None:
    """Append the jobs that Slurm has taken."""
    time = now()
    for job in jobs:
        if job.name in job_ids:
            row = {"number": job_ids[job.name], "iteration": job.iteration, "phase": job.phase, "link": job.link}
            append_line(_path(run), {**row, "submitted": time})


def submitted_jobs(run: Path) -> list[SubmittedJob]:
    """All jobs that the run was ever given, oldest first; none for a run that no scheduler knows."""
    path = _path(run)
    return [_job(path, row) for row in read_jsonl(path, skip_malformed=True)] if path.is_file() else []


def _job(path: Path, row: Mapping[str, Any]) -> SubmittedJob:
    try:
        return SubmittedJob(
            str(int(row["number"])), int(row["iteration"]), str(row["phase"]), int(row["link"]), str(row["submitted"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: malformed ({error!r}); remove the line") from None


def _path(run: Path) -> Path:
    return run / "jobs" / "submissions.jsonl"
