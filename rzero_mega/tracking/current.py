"""Where an unfinished run is: the phase under way, its step, and how long the rest of it may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.run.events import read_events
from rzero_mega.tracking.summaries import duration, mean, scalar

if TYPE_CHECKING:
    from rzero_mega.tracking.status import IterationStatus


@dataclass(frozen=True)
class Current:
    """The phase under way, or the one in which the run has stopped. `left_seconds` is None where nothing tells it."""

    iteration: int
    phase: PhaseName
    alive: bool
    step: int
    steps: int | None
    left_seconds: float | None

    def __str__(self) -> str:
        """For instance "iteration 2 · solver · step 5 of 15 · about 4 min 10 s left of the phase"."""
        unit = "step" if self.phase.trains else "part"
        done = f"{unit} {self.step}" + (f" of {self.steps}" if self.steps is not None else "") + " done"
        if self.phase is PhaseName.EVALUATE:
            done = f"{self.step} % done"
        words = [f"iteration {self.iteration}", str(self.phase), done]
        if not self.alive:
            return " · ".join([*words, "stopped; the same command goes on"])
        if self.left_seconds is not None:
            words.append(f"about {duration(self.left_seconds)} left of the phase")
        return " · ".join(words)


def current_phase(run: RunDirectory, iterations: Sequence[IterationStatus]) -> Current | None:
    """The first phase that has begun and is not finished; None between phases."""
    for iteration in iterations:
        for name, phase in iteration.phases.items():
            if phase.state in ("running", "stopped"):
                alive, step = phase.state == "running", phase.step or 0
                before = [
                    earlier.seconds.get(name) for earlier in iterations if earlier.iteration < iteration.iteration
                ]
                left = None
                if alive:
                    spent = _seconds_since_start(run, iteration.iteration, name)
                    rows = run.phase(iteration.iteration, name).metrics()
                    left = _left(rows, step, phase.steps, spent, mean(before[-1:]))
                return Current(iteration.iteration, name, alive, step, phase.steps, left)
    return None


def _left(
    rows: Sequence[Mapping[str, Any]], step: int, steps: int | None, spent: float | None, before: float | None
) -> float | None:
    """By the mean of the steps so far; without one by what the phase took in the iteration before."""
    per_step = mean(scalar(row, "step_seconds") for row in rows)
    if per_step is None and step and spent is not None:
        per_step = spent / step
    if per_step is not None and steps is not None:
        return max(0.0, per_step * (steps - step))
    return None if before is None or spent is None else max(0.0, before - spent)


def _seconds_since_start(run: RunDirectory, iteration: int, phase: PhaseName) -> float | None:
    for event in reversed(read_events(run.events_path)):
        if event.event == "phase_started" and (event.fields.get("iteration"), event.fields.get("phase")) == (
            iteration,
            phase.value,
        ):
            try:
                return (datetime.now(UTC) - datetime.fromisoformat(event.time)).total_seconds()
            except (ValueError, TypeError):
                return None
    return None
