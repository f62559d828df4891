"""Where a run stands, from its manifests and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rzero_mega.phase_name import PhaseName
from rzero_mega.run.directory import RunDirectory
from rzero_mega.run.manifest import Manifest
from rzero_mega.run.phase import PhaseDirectory

State = Literal["finished", "running", "stopped", "skipped", "pending"]


@dataclass(frozen=True)
class PhaseStatus:
    """`stopped` has partial work and no living writer. `step` of `steps` counts steps or parts; null where unknown."""

    state: State
    step: int | None
    steps: int | None
    seconds: float | None
    attempts: int | None


@dataclass(frozen=True)
class IterationStatus:
    """One iteration; shares are between 0 and 1, null where not known (yet). `seconds` is per finished phase.

    `flawed_questions` is the share of the written questions in which a check finds a flaw, whether it is on or not.
    """

    iteration: int
    label_accuracy: float | None
    kept_questions: int | None
    flawed_questions: float | None
    pass1_mean: float | None
    pass1_greedy: float | None
    seconds: Mapping[str, float]
    phases: Mapping[str, PhaseStatus]


@dataclass(frozen=True)
class RunStatus:
    """A run: `state` is finished, running or stopped; `seconds` is the wall time of its finished phases."""

    name: str
    path: str
    id: str
    recipe: str
    state: State
    seconds: float
    iterations: tuple[IterationStatus, ...]

    def as_json(self) -> dict[str, Any]:
        """What `status --json` prints."""
        return asdict(self) | {"iterations": [asdict(iteration) for iteration in self.iterations]}


def run_status(run: RunDirectory) -> RunStatus:
    """Read the state of every phase of every iteration, those to come included."""
    alive = run.is_alive()
    wanted = range(0 if _evaluates_base(run) else 1, run.config.iterations + 1)
    iterations = tuple(_iteration_status(run, i, alive) for i in sorted({*wanted, *run.iterations()}))
    states = [phase.state for iteration in iterations for phase in iteration.phases.values()]
    unfinished = any(state not in ("finished", "skipped") for state in states)
    state: State = "finished" if not unfinished else "running" if alive else "stopped"
    seconds = round(sum(sum(iteration.seconds.values()) for iteration in iterations), 3)
    return RunStatus(run.path.name, str(run.path), run.info.id, run.info.recipe, state, seconds, iterations)


def _evaluates_base(run: RunDirectory) -> bool:
    return bool(run.config.evaluation.benchmarks) and run.config.evaluation.base_model


def _iteration_status(run: RunDirectory, iteration: int, alive: bool) -> IterationStatus:
    names = tuple(PhaseName) if iteration > 0 else (PhaseName.EVALUATE,)
    folders = {name: run.phase(iteration, name) for name in names}
    manifests = {name: folder.manifest() for name, folder in folders.items()}
    phases = {name: _phase_status(run, folders[name], manifests[name], alive) for name in names}
    return IterationStatus(
        iteration=iteration,
        label_accuracy=_number(manifests.get(PhaseName.LABELS), "label_accuracy"),
        kept_questions=_count(manifests.get(PhaseName.LABELS), "kept"),
        flawed_questions=_number(manifests.get(PhaseName.LABELS), "hacking", "any"),
        pass1_mean=_number(manifests[PhaseName.EVALUATE], "pass1_mean"),
        pass1_greedy=_number(manifests[PhaseName.EVALUATE], "pass1_greedy"),
        seconds={name: manifest.seconds for name, manifest in manifests.items() if manifest},
        phases=_mark_skipped(run, phases),
    )


def _phase_status(run: RunDirectory, folder: PhaseDirectory, manifest: Manifest | None, alive: bool) -> PhaseStatus:
    steps = _planned_steps(run, folder.phase)
    if manifest is not None:
        return PhaseStatus("finished", steps, steps, manifest.seconds, manifest.attempts)
    if not folder.has_begun():
        return PhaseStatus("pending", None, steps, None, None)
    rows = folder.metrics()
    step = rows[-1]["step"] if rows else len(folder.finished_parts())
    return PhaseStatus("running" if alive else "stopped", step, steps, None, None)


def _mark_skipped(run: RunDirectory, phases: Mapping[PhaseName, PhaseStatus]) -> dict[str, PhaseStatus]:
    """A pending phase is skipped when a later one of its iteration has begun, or when nothing is left to evaluate."""
    marked: dict[str, PhaseStatus] = {}
    later_began = False
    for name in reversed(list(phases)):
        phase = phases[name]
        nothing_to_do = name is PhaseName.EVALUATE and not run.config.evaluation.benchmarks
        if phase.state == "pending" and (later_began or nothing_to_do):
            phase = PhaseStatus("skipped", None, None, None, None)
        later_began = later_began or phase.state not in ("pending", "skipped")
        marked[name] = phase
    return {name: marked[name] for name in phases}


def _planned_steps(run: RunDirectory, phase: PhaseName) -> int | None:
    config = run.config
    match phase:
        case PhaseName.CHALLENGER:
            return config.challenger.training.steps
        case PhaseName.SOLVER:
            return config.solver.training.steps
        case PhaseName.QUESTIONS:
            return -(-config.questions.count // config.questions.per_part)
    # How many questions there are to label is known to the phase alone, and evaluation has no parts.
    return None


def _number(manifest: Manifest | None, *keys: str) -> float | None:
    value: Any = manifest.summary if manifest else None
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(manifest: Manifest | None, key: str) -> int | None:
    value = _number(manifest, key)
    return None if value is None else int(value)
