"""Stretches of the plan: what one process group goes through without an end, an iteration or a phase of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rzero_mega.coevolution.plan import PhasePlan
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName

JOB_PER = ("iteration", "phase")
"""What a job may be made for; the first, unless somebody says otherwise."""


def checked_per(job_per: str | None) -> str:
    """What somebody wants jobs to be made for, None for the usual; UserError if it is none of JOB_PER."""
    if job_per is None:
        return JOB_PER[0]
    if job_per not in JOB_PER:
        raise UserError(f"--job-per: {job_per!r} is none of {', '.join(JOB_PER)}")
    return job_per


@dataclass(frozen=True)
class Stretch:
    """One phase of an iteration; without a phase, all that the iteration has."""

    iteration: int
    phase: PhaseName | None = None

    @classmethod
    def named(cls, iteration: int, phase: str | None) -> Stretch:
        """The one that somebody named; UserError if there is no such phase."""
        return cls(iteration, None if phase is None else PhaseName.named(phase))

    def has(self, iteration: int, phase: PhaseName) -> bool:
        """Whether it goes through that phase."""
        return self.iteration == iteration and self.phase in (None, phase)

    def of(self, plan: Sequence[PhasePlan]) -> list[PhasePlan]:
        """Its phases in the plan's order. UserError if the plan has none of them."""
        found = [phase for phase in plan if self.has(phase.iteration, phase.name)]
        if not found:
            raise UserError(f"{self}: not in the plan of this configuration")
        return found

    @property
    def words(self) -> list[str]:
        """As arguments of a command."""
        return [str(self.iteration)] + ([] if self.phase is None else [str(self.phase)])

    def __str__(self) -> str:
        """For instance "iteration 2 · solver", or "iteration 2"."""
        return " · ".join(["iteration " + self.words[0], *self.words[1:]])


def stretches(phases: Sequence[PhasePlan], per: str) -> list[tuple[Stretch, list[PhasePlan]]]:
    """The phases, in the plan's order, cut into stretches of `per`, one of JOB_PER."""

    def stretch(phase: PhasePlan) -> Stretch:
        return Stretch(phase.iteration, phase.name if per == "phase" else None)

    return [(key, list(group)) for key, group in groupby(phases, stretch)]
