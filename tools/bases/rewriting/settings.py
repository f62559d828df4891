"""How the base of the world of rewriting is pre-trained."""

from __future__ import annotations

from dataclasses import dataclass, field

from tools.bases.base import Settings


@dataclass(frozen=True, slots=True)
class Faults:
    """How often each fault is made: each in less than half of the cases, so that the likeliest row is the best one."""

    unsorted: float = 0.3
    """Of rows: words stay in the order of the task."""
    stops: float = 0.12
    """Of rows: it ends after some of its words, as early as after the first."""
    repeats: float = 0.45
    """Of words that were there before: written again."""
    swaps: float = 0.12
    """Of neighbours: the one after the other."""
    forgets: float = 0.1
    """Of words."""
    misspells: float = 0.06
    """Of words: one letter is replaced."""


@dataclass(frozen=True, slots=True)
class RewritingSettings(Settings):
    """With what its documents are made with."""

    solve_share: float = 0.85
    faults: Faults = field(default_factory=Faults)
