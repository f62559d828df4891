"""What a grid's arms brought: over seeds, stage by stage, and against the first arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rzero_mega.config.kinds import values_of
from rzero_mega.evaluation.statistics import Estimate, over_seeds
from rzero_mega.grid.cell import Cell, State
from rzero_mega.grid.results import Stage, run_results


@dataclass(frozen=True)
class Row:
    """A stage of an arm. `values` are over the seeds that have come so far; None where no run has the result.

    `deltas` are those of the same seeds in the first arm, pair by pair; none of the first arm itself.
    """

    stage: str
    seeds: int
    values: Mapping[str, Estimate | None]
    deltas: Mapping[str, Estimate | None]


@dataclass(frozen=True)
class ArmSummary:
    """An arm: how far its seeds are, and its rows. `comparable`: it is measured as the first one is."""

    arm: str
    states: Mapping[State, int]
    rows: tuple[Row, ...]
    comparable: bool

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
    """A grid's arms in order, the first of which the others are compared with."""

    name: str
    results: tuple[str, ...]
    arms: tuple[ArmSummary, ...]


def summarized(name: str, results: Sequence[str], cells: Sequence[Cell]) -> GridSummary:
    """What lies there of these cells, finished or not. `results` are those that are wanted, as far as any run has them.

    Every result is over all seeds whose stage is finished. A difference is over the seeds in which both arms have it:
    one seed draws the same samples of the same questions in both, so it is taken seed by seed.
    """
    measured: dict[str, dict[int, list[Stage]]] = {}
    for cell in cells:
        run = cell.run()
        measured.setdefault(cell.arm, {})[cell.seed] = run_results(run) if run is not None else []
    first = cells[0]
    arms = []
    for arm, by_seed in measured.items():
        own = [cell for cell in cells if cell.arm == arm]
        comparable = _evaluation(own[0]) == _evaluation(first)
        baseline = measured[first.arm] if arm != first.arm and comparable else {}
        states = Counter(cell.state() for cell in own)
        arms.append(ArmSummary(arm, states, _rows(by_seed, baseline, results), comparable))
    found = tuple(name for name in results if any(row.values[name] for arm in arms for row in arm.rows))
    return GridSummary(name, found or tuple(results), tuple(arms))


def _rows(
    by_seed: Mapping[int, Sequence[Stage]], baseline: Mapping[int, Sequence[Stage]], results: Sequence[str]
) -> tuple[Row, ...]:
    labels = list(dict.fromkeys(stage.label for stages in by_seed.values() for stage in stages))
    return tuple(_row(label, _at(label, by_seed), _at(label, baseline), results) for label in labels)


def _at(label: str, by_seed: Mapping[int, Sequence[Stage]]) -> dict[int, Mapping[str, float]]:
    return {seed: stage.values for seed, stages in by_seed.items() for stage in stages if stage.label == label}


def _row(
    label: str, own: Mapping[int, Mapping[str, float]], first: Mapping[int, Mapping[str, float]], results: Sequence[str]
) -> Row:
    both = [seed for seed in own if seed in first]
    values = {name: [run[name] for run in own.values() if name in run] for name in results}
    deltas = {
        name: [own[seed][name] - first[seed][name] for seed in both if name in own[seed] and name in first[seed]]
        for name in results
    }
    return Row(label, len(own), _estimates(values), _estimates(deltas))


def _estimates(values: Mapping[str, Sequence[float]]) -> dict[str, Estimate | None]:
    return {name: over_seeds(some) if some else None for name, some in values.items()}


def _evaluation(cell: Cell) -> dict[str, object]:
    """How a cell is measured."""
    return {key: value for key, value in values_of(cell.config).items() if key.startswith("evaluation.")}
