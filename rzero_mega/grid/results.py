"""What a run has brought so far: its results, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, RunDirectory
from rzero_mega.tracking.summaries import scalar

BASE = "base"
OF_BENCHMARK = ("score", "mean", "greedy", "vote")
"""Figures of one benchmark, named as "greedy of arithmetic_2500": `score` is that of its own protocol."""

RELIABILITY = "reliability"
"""Of one kind of a Critic's pairs, named as "reliability of dropped_word"."""


@dataclass(frozen=True)
class Result:
    """Where a result stands: in which phase's summary, under which keys, one below the other.

    `share` says that it lies between 0 and 1. It is shown with so many `digits` after the point, a share as percent.
    """

    phase: PhaseName
    key: str
    share: bool = True
    digits: int = 1

    def value(self, summary: Mapping[str, Any]) -> float | None:
        """The number there; None where there is none."""
        *above, last = self.key.split("/")
        for name in above:
            below = summary.get(name)
            summary = below if isinstance(below, Mapping) else {}
        return scalar(summary, last)


RESULTS: Mapping[str, Result] = {
    "value": Result(PhaseName.EVALUATE, "value"),
    "mean": Result(PhaseName.EVALUATE, "pass1_mean"),
    "greedy": Result(PhaseName.EVALUATE, "pass1_greedy"),
    "transfer": Result(PhaseName.EVALUATE, "transfer"),
    "label accuracy": Result(PhaseName.LABELS, "label_accuracy"),
    "hidden quality": Result(PhaseName.LABELS, "scores/quality"),
    "kept": Result(PhaseName.LABELS, "kept", share=False, digits=0),
    "signal-weighted": Result(PhaseName.LABELS, "audit/quality/signal_weighted_accuracy"),
    "net corrections": Result(PhaseName.LABELS, "audit/quality/net_corrections", share=False),
    "agreement in band": Result(PhaseName.EVALUATE, "gauges/agreement_in_band"),
    "label tokens": Result(PhaseName.LABELS, "label_tokens", share=False, digits=0),
    "balanced accuracy": Result(PhaseName.VERIFIER, "measured/balanced_accuracy"),
    "true-accept": Result(PhaseName.VERIFIER, "measured/true_accept"),
    "false-accept": Result(PhaseName.VERIFIER, "measured/false_accept"),
    "votes: true-accept": Result(PhaseName.VERIFIER, "measured/audit/true_accept"),
    "votes: false-accept": Result(PhaseName.VERIFIER, "measured/audit/false_accept"),
    "answers' score": Result(PhaseName.LABELS, "scores/score"),
    "critic and quality": Result(PhaseName.CRITIC, "measured/quality", share=False),
    "critic and the first": Result(PhaseName.CRITIC, "measured/drift/correlation", share=False),
    "position bias": Result(PhaseName.CRITIC, "measured/order/position_bias"),
    "orders agree": Result(PhaseName.CRITIC, "measured/order/agreement"),
    "rejected": Result(PhaseName.LABELS, "verdicts/rejected_share"),
    "vote on fixed questions": Result(PhaseName.EVALUATE, "gauges/vote_accuracy"),
}
USUAL = ("mean", "greedy", "transfer", "label accuracy", "kept")
"""Without the value by every benchmark's own protocol, which is the mean over samples or the greedy verdict again where
all benchmarks have one protocol, and without what labels are worth and their gauges."""


def benchmark_of(name: str) -> str | None:
    """The benchmark that a result is of; None for one that is not of a single benchmark."""
    figure, _, benchmark = name.partition(" of ")
    return benchmark if figure in OF_BENCHMARK and benchmark else None


def result_named(name: str) -> Result:
    """Where a result stands; KeyError for what is none."""
    if name in RESULTS:
        return RESULTS[name]
    figure, _, what = name.partition(" of ")
    if figure in OF_BENCHMARK and what:
        return Result(PhaseName.EVALUATE, f"by_benchmark/{what}/{figure}")
    if figure == RELIABILITY and what:
        return Result(PhaseName.CRITIC, f"measured/kinds/{what}/share")
    raise KeyError(name)


@dataclass(frozen=True)
class Stage:
    """The base model, or what an iteration made of it: values by the names of results."""

    label: str
    values: Mapping[str, float]


def finished_stages(run: RunDirectory, results: Sequence[str]) -> list[Stage]:
    """The finished stages of a run, in order, with these results: those of which no phase is left."""
    planned: dict[int, list[PhaseName]] = {}
    for plan in iteration_plan(run.config):
        planned.setdefault(plan.iteration, []).append(plan.name)
    stages = []
    for iteration, names in planned.items():
        manifests = {name: run.phase(iteration, name).manifest() for name in names}
        if all(manifests.values()):
            stages.append(Stage(BASE if iteration == 0 else str(iteration), _values(manifests, results)))
    return stages


def _values(manifests: Mapping[PhaseName, Manifest | None], results: Sequence[str]) -> dict[str, float]:
    found = {}
    for name in results:
        result = result_named(name)
        manifest = manifests.get(result.phase)
        value = result.value(manifest.summary) if manifest is not None else None
        if value is not None:
            found[name] = value
    return found
