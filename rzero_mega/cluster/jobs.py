"""Stretches of the plan as jobs: which a run still needs, what they are called, and which waits for which. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import starmap, takewhile
from pathlib import Path

from rzero_mega.coevolution.plan import PhasePlan
from rzero_mega.coevolution.stretch import Stretch, stretches
from rzero_mega.phase_name import PhaseName

# In names, where those of a phase have the phase.
ITERATION = "iteration"


@dataclass(frozen=True)
class ChainedJob:
    """One job of a stretch: the first (`link` 1) does the work, each further one goes on where it was not finished.

    `phases` are those that the job has to finish. It waits for the end of `after`, however that end was: what the
    phases left tells what there is to do. `after` is the name of a job of the same submission, or the id of one that
    Slurm has already.
    """

    stretch: Stretch
    phases: tuple[PhaseName, ...]
    link: int
    links: int
    after: str | None

    @property
    def name(self) -> str:
        """Unique inside a run, for instance 2-solver-1, or 2-iteration-1."""
        return f"{self.stretch_prefix}{self.link}"

    @property
    def stretch_prefix(self) -> str:
        """What the names of all links of the stretch begin with, for instance 2-solver-."""
        return f"{self.stretch.iteration}-{self.stretch.phase or ITERATION}-"


def job_chain(phases: Sequence[PhasePlan], per: str, links: int, after: str | None = None) -> list[ChainedJob]:
    """The jobs of these phases, `per` phase or iteration, in one chain: each waits for the one before it.

    The jobs of a finished stretch that are left are cancelled by the one that finished it, so that the next stretch
    does not wait for them in the queue. `after` is what the first job waits for.
    """
    jobs: list[ChainedJob] = []
    for stretch, planned in stretches(phases, per):
        names = tuple(phase.name for phase in planned)
        for link in range(1, links + 1):
            jobs.append(ChainedJob(stretch, names, link, links, jobs[-1].name if jobs else after))
    return jobs


def job_prefix(run: Path) -> str:
    """What Slurm's names of a run's jobs begin with: the run's name, and a mark of its path, since names may repeat."""
    # The same run may be named by different paths: from inside its folder, through a link.
    mark = hashlib.sha256(str(run.resolve()).encode()).hexdigest()[:6]
    return f"rz-{re.sub(r'[^A-Za-z0-9_-]', '_', run.name)}-{mark}."


def stretch_of(name: str, run: Path) -> Stretch:
    """What the job is made for that Slurm has under this name."""
    iteration, phase, _ = name.removeprefix(job_prefix(run)).split("-")
    return Stretch.named(int(iteration), None if phase == ITERATION else phase)


def missing_phases(
    plan: Sequence[PhasePlan], finished: Collection[tuple[int, PhaseName]], waiting: Sequence[Stretch]
) -> tuple[list[PhasePlan], list[Stretch]]:
    """(phases to submit, stretches whose waiting jobs are of no use).

    `finished` phases need nothing. `waiting` stretches have jobs that Slurm still has; they count as far as they follow
    each other from the first phase that is not finished: a job past a hole would find its inputs missing.
    """
    planned = {(phase.iteration, phase.name): phase for phase in plan}
    left = [key for key in planned if key not in finished]
    kept = list(takewhile(lambda key: any(stretch.has(*key) for stretch in waiting), left))

    def is_of_use(stretch: Stretch) -> bool:
        has = partial(starmap, stretch.has)
        return any(has(kept)) or (any(has(finished)) and not any(has(left)))

    return [planned[key] for key in left[len(kept) :]], [stretch for stretch in waiting if not is_of_use(stretch)]
