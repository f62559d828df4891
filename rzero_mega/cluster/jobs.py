"""Phases as jobs: which jobs a run still needs, what they are called, and which waits for which. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.coevolution.plan import PhasePlan
from rzero_mega.phase_name import PhaseName


@dataclass(frozen=True)
class PhaseJob:
    """One job of a phase: the first (`link` 1) does the work, each further one goes on where it was not finished.

    It waits for the end of `after`, however that end was: what the phase left tells what there is to do. `after` is the
    name of a job of the same submission, or the id of one that Slurm has already.
    """

    iteration: int
    phase: PhaseName
    link: int
    links: int
    after: str | None

    @property
    def name(self) -> str:
        """Unique inside a run, for instance 2-solver-1."""
        return f"{self.phase_prefix}{self.link}"

    @property
    def phase_prefix(self) -> str:
        """What the names of all links of the phase begin with, for instance 2-solver-."""
        return f"{self.iteration}-{self.phase}-"


def job_chain(phases: Sequence[PhasePlan], links: int, after: str | None = None) -> list[PhaseJob]:
    """The jobs of these phases, one chain: each link waits for the one before, each phase for the last link before it.

    The jobs of a finished phase that are left are cancelled by the one that finished it, so that the next phase does
    not wait for them in the queue. `after` is what the first job waits for.
    """
    jobs: list[PhaseJob] = []
    for phase in phases:
        for link in range(1, links + 1):
            before = jobs[-1].name if jobs else after
            jobs.append(PhaseJob(phase.iteration, phase.name, link, links, before))
    return jobs


def job_prefix(run: Path) -> str:
    """What Slurm's names of a run's jobs begin with: the run's name, and a mark of its path, since names may repeat."""
    # The same run may be named by different paths: from inside its folder, through a link.
    mark = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:6]
    return f"rz-{re.sub(r'[^A-Za-z0-9_-]', '_', run.name)}-{mark}."


def missing_phases(
    plan: Sequence[PhasePlan], finished: set[tuple[int, PhaseName]], waiting: Sequence[tuple[int, PhaseName]]
) -> tuple[list[PhasePlan], list[tuple[int, PhaseName]]]:
    """(phases to submit, phases whose waiting jobs are of no use).

    `finished` phases need nothing. `waiting` phases have jobs that Slurm still has; they count as far as they follow
    each other from the first phase that is not finished: a job past a hole would find its inputs missing.
    """
    left = [phase for phase in plan if (phase.iteration, phase.name) not in finished]
    covered = 0
    for phase in left:
        if (phase.iteration, phase.name) not in waiting:
            break
        covered += 1
    kept = [(phase.iteration, phase.name) for phase in left[:covered]]
    useless = [phase for phase in waiting if phase not in kept and phase not in finished]
    return left[covered:], useless
