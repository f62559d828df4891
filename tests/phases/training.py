"""A stand-in for `train_policy` that draws the rollouts of a few steps and trains on none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rzero_mega.phases.prefetcher import Rollouts
from tests.phases.scripted import ScriptedEngine


class RolloutsOnly:
    """Called as `train_policy` is; `arguments` are all but the last, which rolls out."""

    def __init__(self, engine: ScriptedEngine, steps: int) -> None:
        self.engine, self.steps = engine, steps
        self.drawn: list[Rollouts] = []
        self.arguments: tuple[Any, ...] = ()
        self.facts: dict[str, Any] | None = None
        self.carried: Any = None
        self.then: Callable[[Path], Mapping[str, Any]] | None = None

    def __call__(
        self,
        *arguments: Any,
        facts: dict[str, Any] | None = None,
        carried: Any = None,
        then: Callable[[Path], Mapping[str, Any]] | None = None,
    ) -> None:
        self.facts, self.carried, self.then = facts, carried, then
        *self.arguments, roll_out = arguments  # type: ignore[assignment]
        self.drawn = [roll_out(step, self.engine) for step in range(1, self.steps + 1)]
