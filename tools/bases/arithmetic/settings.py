"""How a base of the arithmetic world is pre-trained."""

from __future__ import annotations

from dataclasses import dataclass

from tools.bases.arithmetic.written import Folklore
from tools.bases.base import Settings


@dataclass(frozen=True, slots=True)
class ArithmeticSettings(Settings):
    """With what its documents are made with."""

    slip: float = 0.3
    split: float = 0.3
    solve_share: float = 0.8
    clock_share: float = 0.12
    """Share of the second family among the written solutions; the Challenger's documents have none of it."""
    level_weights: tuple[float, ...] = (0.2, 0.25, 0.25, 0.15, 0.15)
    folklore: Folklore | None = None
