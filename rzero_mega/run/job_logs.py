"""What the jobs of a run wrote, and what its processes told: which job was the last, how it ended, its ranks' logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.run.job import Ended, read_end
from rzero_mega.run.launch import log_of
from rzero_mega.run.run_log import LOGS

POLL_S = 0.5


def job_folders(run: Path) -> list[Path]:
    """The folders of the run's jobs, the one that began last at the end."""
    folder = run / "jobs"
    found = [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda entry: (_began(entry), entry.name))


def last_end(run: Path) -> Ended | None:
    """How the job that began last ended; None while it goes on, where it was killed, and without jobs."""
    folders = job_folders(run)
    return read_end(folders[-1]) if folders else None


def log_file(run: Path, job: str | None, rank: int) -> Path:
    """The log of a rank in the job whose id is given; without one that of the last job, or of a later start without.

    UserError if the run holds none.
    """
    own = log_of(run / LOGS, rank)
    if job is None and own.is_file() and not _is_older(own, job_folders(run)):
        return _inside(own, run)
    folders = [folder for folder in job_folders(run) if job is None or folder.name.rsplit("-", 1)[0] == job]
    if not folders:
        what = "has no log yet" if job is None else f"knows no job {job}"
        raise UserError(f"{run}: {what}; `rzero-mega status {run}` lists its jobs")
    log = log_of(folders[-1], rank)
    if not log.is_file():
        have = ", ".join(sorted(path.stem.removeprefix("rank-") for path in folders[-1].glob("rank-*.log")))
        raise UserError(f"{log}: does not exist; {f'there are ranks {have}' if have else 'no rank has started'}")
    return _inside(log, run)


def _is_older(own: Path, jobs: Sequence[Path]) -> bool:
    """Whether a job has begun after what is in the run's own log was written: then the job's log says more."""
    return bool(jobs) and own.stat().st_mtime < _began(jobs[-1])


def _inside(log: Path, run: Path) -> Path:
    if not log.resolve().is_relative_to(run.resolve()):
        raise UserError(f"{log}: is a link that leads out of the run; look at what it names yourself")
    return log


def text_of(log: Path, follow: bool, is_alive: Callable[[], bool]) -> Iterator[str]:
    """What is in a log; with `follow` also what is added to it, until its job ends or nobody writes the run."""
    with log.open(encoding="utf-8", errors="replace") as file:
        while True:
            ended = read_end(log.parent) is not None if log.parent.name != LOGS else not is_alive()
            text = file.read()
            if text:
                yield text
            if not follow or ended:
                return
            time.sleep(POLL_S)


def _began(folder: Path) -> float:
    leader = folder / "leader.json"
    return leader.stat().st_mtime if leader.is_file() else folder.stat().st_mtime
