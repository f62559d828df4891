"""The phases of an iteration by name: what folders, jobs, metrics and manifests are called after."""

from __future__ import annotations

from enum import StrEnum

from rzero_mega.errors import UserError


class PhaseName(StrEnum):
    """The phases of an iteration, in the order in which they run."""

    CHALLENGER = "challenger"
    QUESTIONS = "questions"
    LABELS = "labels"
    VERIFIER = "verifier"
    CRITIC = "critic"
    SOLVER = "solver"
    EVALUATE = "evaluate"

    @property
    def trains(self) -> bool:
        """Whether the phase trains a role: it has steps with checkpoints, and not parts, and hands on a model."""
        return self in (PhaseName.CHALLENGER, PhaseName.VERIFIER, PhaseName.CRITIC, PhaseName.SOLVER)

    @classmethod
    def named(cls, name: str) -> PhaseName:
        """The phase that somebody named; UserError if there is none of that name."""
        try:
            return cls(name)
        except ValueError:
            raise UserError(f"phase {name}: is one of {', '.join(cls)}") from None


TRAINING_PHASES = tuple(phase for phase in PhaseName if phase.trains)
"""Those that train a role, in their order."""
