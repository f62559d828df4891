"""What a grid's arms brought: over seeds, stage by stage, against the base model and against the first arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rzero_mega.config.kinds import values_of
from rzero_mega.evaluation.statistics import Estimate, over_seeds, slope
from rzero_mega.grid.cell import Cell, State
from rzero_mega.grid.results import BASE, Stage, finished_stages

Estimates = Mapping[str, Estimate]
"""By result; those that no run has are not there."""
# {seed: {stage: {result: value}}}
_Measured = Mapping[int, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class Row:
    """A stage of an arm: `values` over the seeds that have come to it, and its differences, pair by pair of seeds.

    `gains` are over the base model; `deltas` are from the first arm's stage `versus`, empty without one.
    """

    stage: str
    seeds: int
    values: Estimates
    gains: Estimates
    deltas: Estimates
    versus: str


@dataclass(frozen=True)
class ArmSummary:
    """An arm: how far its seeds are, and its rows. `last` is that of its last iteration, empty before any seed has it.

    `comparable`: it is measured as the first arm is. `alongside`: its iterations correspond to those of the first.
    `origin` says where its base is from, where that is another arm's Solver. `slopes` are per iteration, over those of
    the grid's `slope`; empty without one, or before any seed has come to its end.
    """

    arm: str
    states: Mapping[State, int]
    rows: tuple[Row, ...]
    last: Row
    comparable: bool
    alongside: bool
    slopes: Estimates
    origin: str = ""

    @property
    def seeds(self) -> int:
        """How many seeds it is to have."""
        return sum(self.states.values())

    @property
    def finished(self) -> int:
        """How many of them are."""
        return self.states.get(State.FINISHED, 0)


@dataclass(frozen=True)
class GridSummary:
    """A grid's arms in order, the first of which the others are compared with; `base` is what that one began with.

    `slope` are the first and the last iteration of its slopes.
    """

    name: str
    results: tuple[str, ...]
    base: Row | None
    arms: tuple[ArmSummary, ...]
    slope: tuple[int, int] | None = None


def summarized(
    name: str, results: Sequence[str], cells: Sequence[Cell], slope_over: tuple[int, int] | None = None
) -> GridSummary:
    """What lies there of these cells, finished or not. `results` are those that are wanted, as far as any run has them.

    Every result is over all seeds whose stage is finished. A difference is over the seeds in which both have it: one
    seed draws from the same streams of the same questions in both, so it is taken seed by seed.
    """
    measured: dict[str, dict[int, dict[str, Mapping[str, float]]]] = {}
    for cell in cells:
        run = cell.run()
        stages: Sequence[Stage] = finished_stages(run, results) if run is not None else ()
        measured.setdefault(cell.arm, {})[cell.seed] = {stage.label: stage.values for stage in stages}
    first = cells[0]
    arms = []
    for arm, own in measured.items():
        arms.append(_arm([cell for cell in cells if cell.arm == arm], first, own, measured[first.arm], slope_over))
    found = tuple(result for result in results if any(result in row.values for arm in arms for row in arm.rows))
    base = next((row for row in arms[0].rows if row.stage == BASE), None)
    return GridSummary(name, found or tuple(results), base, tuple(arms), slope_over)


def _arm(
    cells: Sequence[Cell], first: Cell, own: _Measured, firsts: _Measured, slope_over: tuple[int, int] | None
) -> ArmSummary:
    example = cells[0]
    is_first, comparable = example.arm == first.arm, _evaluation(example) == _evaluation(first)
    alongside = example.after is None and example.config.iterations == first.config.iterations
    last, first_last = str(example.config.iterations), str(first.config.iterations)
    against = firsts if comparable else {}

    def row(stage: str) -> Row:
        versus = stage if alongside else first_last if stage == last else ""
        return _row(stage, "" if is_first or stage == BASE else versus, own, against)

    labels = dict.fromkeys(label for stages in own.values() for label in stages)
    states = Counter(cell.state() for cell in cells)
    origin = f"{example.after.arm} {example.after.config.iterations}" if example.after is not None else ""
    slopes = _slopes(own, *slope_over) if slope_over is not None else {}
    return ArmSummary(example.arm, states, tuple(map(row, labels)), row(last), comparable, alongside, slopes, origin)


def _slopes(measured: _Measured, first: int, last: int) -> Estimates:
    """Of each result per iteration, over the seeds that have it in all iterations from `first` to `last`."""
    labels = [BASE if iteration == 0 else str(iteration) for iteration in range(first, last + 1)]
    runs: dict[int, dict[str, float]] = {}
    for seed, stages in measured.items():
        rows = [stages.get(label, {}) for label in labels]
        known = [name for name in rows[0] if all(name in row for row in rows)]
        runs[seed] = {name: slope([row[name] for row in rows]) for name in known}
    return _values(runs)


def _row(stage: str, versus: str, own: _Measured, firsts: _Measured) -> Row:
    here = _at(stage, own)
    gains = _differences(here, _at(BASE, firsts)) if stage != BASE else {}
    deltas = _differences(here, _at(versus, firsts)) if versus else {}
    return Row(stage, len(here), _values(here), gains, deltas, versus)


def _at(stage: str, measured: _Measured) -> dict[int, Mapping[str, float]]:
    return {seed: stages[stage] for seed, stages in measured.items() if stage in stages}


def _values(runs: Mapping[int, Mapping[str, float]]) -> Estimates:
    names = dict.fromkeys(name for run in runs.values() for name in run)
    return {name: over_seeds([run[name] for run in runs.values() if name in run]) for name in names}


def _differences(after: Mapping[int, Mapping[str, float]], before: Mapping[int, Mapping[str, float]]) -> Estimates:
    """Of the seeds that are in both, by result."""
    return _values(
        {
            seed: {name: after[seed][name] - before[seed][name] for name in after[seed] if name in before[seed]}
            for seed in after
            if seed in before
        }
    )


def _evaluation(cell: Cell) -> dict[str, object]:
    """How a cell is measured; whether its base is does not matter to that."""
    values = values_of(cell.config)
    return {key: values[key] for key in values if key.startswith("evaluation.") and key != "evaluation.base_model"}
