"""RUN/jobs/submissions.jsonl: which jobs a run was given, so that any shell can ask about them later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rzero_mega.atomic import append_line, read_jsonl
from rzero_mega.cluster.jobs import ChainedJob
from rzero_mega.errors import UserError
from rzero_mega.run.events import now


@dataclass(frozen=True)
class SubmittedJob:
    """One job as it was submitted; `job_id` is Slurm's. `phase` is None for one of a whole iteration."""

    job_id: str
    iteration: int
    phase: str | None
    link: int
    submitted: str


def record_submission(run: Path, jobs: Sequence[ChainedJob], job_ids: Mapping[str, str]) -> None:
    """Append the jobs that Slurm has taken."""
    time = now()
    for job in jobs:
        if job.name in job_ids:
            what = {"iteration": job.stretch.iteration, "phase": job.stretch.phase}
            row = {"number": job_ids[job.name], **what, "link": job.link}
            append_line(_path(run), {**row, "submitted": time})


def submitted_jobs(run: Path) -> list[SubmittedJob]:
    """All jobs that the run was ever given, oldest first; none for a run that no scheduler knows."""
    path = _path(run)
    return [_job(path, row) for row in read_jsonl(path, skip_malformed=True)] if path.is_file() else []


def _job(path: Path, row: Mapping[str, Any]) -> SubmittedJob:
    try:
        phase = None if row["phase"] is None else str(row["phase"])
        return SubmittedJob(
            str(int(row["number"])), int(row["iteration"]), phase, int(row["link"]), str(row["submitted"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: malformed ({error!r}); remove the line") from None


def _path(run: Path) -> Path:
    return run / "jobs" / "submissions.jsonl"
