"""Gauges and the guard's decisions, as the evaluations of a run left them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.label_guard import Decision, objections
from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import Record
from rzero_mega.run import Manifest, RunDirectory

R = TypeVar("R", bound=Record)

GAUGES, BASE_GAUGES, DECISION = "gauges", "base_gauges", "guard"
"""In the summary of an evaluation: what the Solver's answers tell, what those of the base in iteration 1 do, and what
the guard made of it."""


@dataclass(frozen=True)
class Halt:
    """The guard has ended the run after this iteration, for these reasons."""

    iteration: int
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        """For instance "ended by labels.guard after iteration 3: ...; to go on set labels.guard.action=warn ..."."""
        why = "; ".join(self.reasons)
        return (
            f"ended by labels.guard after iteration {self.iteration}: {why}; to go on set labels.guard.action=warn, or "
            "another bound"
        )


def gauges_in(summary: Mapping[str, Any], name: str = GAUGES) -> Gauges | None:
    """Those of an evaluation's summary; None where it has none."""
    return _read(summary, name, Gauges)


def decision_in(summary: Mapping[str, Any]) -> Decision | None:
    """That of an evaluation's summary; None where it has none."""
    return _read(summary, DECISION, Decision)


def gauge_history(run: RunDirectory) -> dict[int, Gauges]:
    """The gauges of all iterations that have some."""
    found = {number: gauges_in(manifest.summary) for number, manifest in _evaluations(run).items()}
    return {number: gauges for number, gauges in found.items() if gauges is not None}


def decisions(run: RunDirectory) -> dict[int, Decision]:
    """What the guard decided so far, by iteration."""
    found = {number: decision_in(manifest.summary) for number, manifest in _evaluations(run).items()}
    return {number: decision for number, decision in found.items() if decision is not None}


def halt_of(run: RunDirectory, config: Config) -> Halt | None:
    """Whether the guard has ended the run after its last evaluation, by what the configuration says now."""
    guard, gauges = config.labels.guard, gauge_history(run)
    last = max(gauges, default=None)
    if guard.action != "stop" or last is None or last >= config.iterations:
        return None
    reasons = objections(last, gauges, guard)
    return Halt(last, reasons) if reasons else None


def _evaluations(run: RunDirectory) -> dict[int, Manifest]:
    manifests = {number: run.phase(number, PhaseName.EVALUATE).manifest() for number in run.iterations()}
    return {number: manifest for number, manifest in manifests.items() if manifest is not None}


def _read(summary: Mapping[str, Any], name: str, kind: type[R]) -> R | None:
    row = summary.get(name)
    if row is None:
        return None
    try:
        return kind.from_json(row)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"an evaluation's manifest: {name} is malformed ({error!r}); redo the evaluation") from None
