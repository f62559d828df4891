"""The paper's table: models side by side, each benchmark, the averages, with intervals and differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rzero_mega.evaluation.judge_report import RULES
from rzero_mega.evaluation.results import SCORE, ModelScores
from rzero_mega.evaluation.statistics import (
    Estimate,
    accuracy,
    between_seeds,
    detectable,
    mean_difference,
    mean_of,
    over_seeds,
)

GENERAL = ("supergpqa", "mmlu_pro", "bbeh")
"""With the average of mathematics these are the four that the paper's overall average is of."""
MATHEMATICS = "mathematics"


@dataclass(frozen=True)
class Contender:
    """A column of the table: a model, or those that several seeds of one recipe led to, by seed.

    `model` is the base model's name, and `iteration` the one after which it was measured, where that is known.
    `graded` says by whose word its answers are right.
    """

    name: str
    seeds: Mapping[int, ModelScores]
    model: str = ""
    iteration: int | None = None
    graded: str = RULES

    @property
    def one(self) -> ModelScores | None:
        """The model, if it is one."""
        return next(iter(self.seeds.values())) if len(self.seeds) == 1 else None


@dataclass(frozen=True)
class Cell:
    """A result, its difference from the first column's, and the smallest difference that as many questions show.

    `delta` is None where the two have no problems, or no seeds, in common; `detectable` where seeds are compared.
    """

    value: Estimate
    delta: Estimate | None = None
    detectable: float | None = None


@dataclass(frozen=True)
class Row:
    """A measure of a benchmark, or an average over several; a cell per column, None where a model was not measured."""

    label: str
    benchmarks: tuple[str, ...]
    measure: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class ResultTable:
    """Results of several models, the first of which the others are compared with. `remarks` belong below it."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Line:
    """What a row is of: benchmarks with the share of each, and the measure."""

    label: str
    weights: Mapping[str, float]
    measure: str = SCORE


def result_table(columns: Sequence[Contender], groups: Mapping[str, str], titles: Mapping[str, str]) -> ResultTable:
    """A row per benchmark and measure, then averages of groups, then the paper's overall average if it can be taken.

    `groups` and `titles` are by benchmark. An average is of the benchmarks that every model has been measured on.
    """
    lines = list(_lines(columns, groups, titles))
    rows = [
        Row(line.label, tuple(line.weights), line.measure, tuple(_cell(column, columns[0], line) for column in columns))
        for line in lines
    ]
    names = tuple(column.name for column in columns)
    return ResultTable(names, tuple(rows), tuple(_remarks(columns, rows)))


def kind(benchmark: str) -> str:
    """The benchmark that `NAME:N` is a part of."""
    return benchmark.partition(":")[0]


def _lines(columns: Sequence[Contender], groups: Mapping[str, str], titles: Mapping[str, str]) -> Iterator[_Line]:
    models = [model for column in columns for model in column.seeds.values()]
    names = list(dict.fromkeys(name for model in models for name in model.benchmarks))
    for name in names:
        title = titles.get(name, name) + (" (transfer)" if groups.get(name) == "transfer" else "")
        measured = [model.benchmarks[name] for model in models if name in model.benchmarks]
        for measure in dict.fromkeys(measure for scores in measured for measure in scores.measures):
            yield _Line(title if measure == SCORE else f"{title}, {measure}", {name: 1.0}, measure)
    everywhere = [name for name in names if all(name in model.benchmarks for model in models)]
    by_group: dict[str, list[str]] = {}
    for name in everywhere:
        by_group.setdefault(groups.get(name, "other"), []).append(name)
    for group, members in by_group.items():
        if len(members) > 1:
            yield _Line(f"{group}, average", dict.fromkeys(members, 1 / len(members)))
    mathematics = by_group.get(MATHEMATICS, [])
    general = [name for name in everywhere if kind(name) in GENERAL]
    if mathematics and sorted(map(kind, general)) == sorted(GENERAL):
        share = 1 / (1 + len(general))
        weights = dict.fromkeys(mathematics, share / len(mathematics)) | dict.fromkeys(general, share)
        yield _Line("overall", weights)


def _cell(column: Contender, first: Contender, line: _Line) -> Cell | None:
    shares = list(line.weights.values())
    found = {seed: model.on(line.weights, line.measure) for seed, model in column.seeds.items()}
    scores = {seed: groups for seed, groups in found.items() if groups is not None}
    if len(scores) < len(found):
        return None
    if len(scores) > 1:
        values = {seed: _mean(groups, shares) for seed, groups in scores.items()}
        return Cell(over_seeds(list(values.values())), _seeds_delta(column, first, line, values))
    (groups,) = scores.values()
    value = accuracy(groups[0]) if len(groups) == 1 else mean_of(groups, shares)
    before = _before(column.one, first.one, line) if column is not first else None
    if before is None:
        return Cell(value)
    return Cell(value, mean_difference(groups, before, shares), detectable(groups, before, shares))


def _before(model: ModelScores | None, first: ModelScores | None, line: _Line) -> list[tuple[float, ...]] | None:
    """The first model's scores on the problems of `model`, in their order; None if its problems are others."""
    if model is None or first is None:
        return None
    found = [
        model.benchmarks[name].paired(first.benchmarks[name], line.measure) if name in first.benchmarks else None
        for name in line.weights
    ]
    known = [scores for scores in found if scores is not None]
    return known if len(known) == len(found) else None


def _seeds_delta(column: Contender, first: Contender, line: _Line, values: Mapping[int, float]) -> Estimate | None:
    """Seed by seed where both have the same seeds, otherwise between the two sets of runs."""
    if column is first or first.one is not None:
        return None
    shares, before = list(line.weights.values()), {}
    for seed, model in first.seeds.items():
        other = column.seeds.get(seed, next(iter(column.seeds.values())))
        groups = _before(other, model, line)
        if groups is None:
            return None
        before[seed] = _mean(groups, shares)
    if before.keys() == values.keys():
        return over_seeds([values[seed] - before[seed] for seed in values])
    return between_seeds(list(values.values()), list(before.values()))


def _mean(groups: Sequence[Sequence[float]], shares: Sequence[float]) -> float:
    return sum(share * fmean(scores) for share, scores in zip(shares, groups, strict=True))


def _remarks(columns: Sequence[Contender], rows: Sequence[Row]) -> Iterator[str]:
    """Who graded, what the intervals are, what samples of these sizes cannot tell, and what could not be compared."""
    yield from _graders(columns)
    several = [len(column.seeds) for column in columns if column.one is None]
    if several:
        count = f"{min(several)} to {max(several)}" if len(set(several)) > 1 else f"{several[0]}"
        yield f"Intervals of several runs are over their {count} seeds, by Student's t, on these same questions."
    if any(cell is not None and cell.delta is not None for row in rows for cell in row.cells):
        yield "Of differences that are none, one in twenty has an interval that leaves out zero."
    for number, column in enumerate(columns[1:], 1):
        cells = [(row, cell) for row in rows if (cell := row.cells[number]) is not None]
        unclear = [(row, cell) for row, cell in cells if cell.delta is not None and not cell.delta.tells_apart]
        if unclear:
            names = "; ".join(row.label + _detectable(cell) for row, cell in unclear)
            yield f"{column.name} and {columns[0].name} cannot be told apart on {names}."
        apart = [row.label for row, cell in cells if cell.delta is None and row.cells[0] is not None]
        if apart and (column.one is None) == (columns[0].one is None):
            yield f"{column.name} and {columns[0].name} were asked other problems of {', '.join(apart)}: no difference."
        elif apart:
            single = column if column.one is not None else columns[0]
            yield f"{single.name} is one run, which says nothing of other seeds: no difference."


def _graders(columns: Sequence[Contender]) -> Iterator[str]:
    graders = list(dict.fromkeys(column.graded for column in columns))
    if len(graders) == 1:
        yield f"Grading is {graders[0]}."
        return
    for grader in graders:
        yield f"{', '.join(column.name for column in columns if column.graded == grader)}: grading is {grader}."
    yield "Where graders differ, so may accuracies of the same answers."


def _detectable(cell: Cell) -> str:
    if cell.detectable is None:
        return f" ({cell.value.items} seeds)"
    return f" ({cell.value.items:,} questions tell differences from about {100 * cell.detectable:.1f} points on)"
