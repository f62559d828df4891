"""A grid file: which arms a grid has, under which seeds, and the cells that follow, one run each.

name: nano_ablations              # the folder of its runs; the file's name if left out
recipe: nano                      # of all arms; a recipe, a preset or a YAML file, as `rzero-mega run` takes it
seeds: [0, 1, 2, 3, 4]
overrides: [iterations=5]         # of all arms, key=value as on a command line
arms:                             # the first is what the others are compared with
  rzero:
  no_filter: {ablation: no_filter}
  slow: {overrides: [solver.training.optimizer.learning_rate=5.0e-5]}
results: [mean, greedy]           # columns of the table; the usual ones if left out
slope: [5, 10]                    # iterations over which the table has each result's slope; none if left out
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rzero_mega.config import Config
from rzero_mega.config.kinds import values_of
from rzero_mega.config.schema import NO_ABLATION
from rzero_mega.config.suggestions import alike, did_you_mean
from rzero_mega.config.typed import merged
from rzero_mega.errors import UserError
from rzero_mega.grid.cell import Cell
from rzero_mega.grid.results import OF_BENCHMARK, RELIABILITY, RESULTS, USUAL, benchmark_of, result_named
from rzero_mega.recipes import grid_names, grid_text, load_recipe
from rzero_mega.yaml_text import Node, Scalar, parse_yaml, read_yaml

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
# What makes a cell the cell that it is.
_OWN_KEYS = ("seed", "run.name", "run.root")


@dataclass
class Arm:
    """What the runs of one arm have in common, on top of what all arms have."""

    recipe: str | None = None
    ablation: str = NO_ABLATION
    overrides: list[str] = field(default_factory=list)
    after: str | None = None


@dataclass
class _File:
    """The keys of a grid file besides `arms`."""

    name: str | None = None
    recipe: str | None = None
    seeds: list[int] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=lambda: list(USUAL))
    slope: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Grid:
    """A grid as its file says it. `source` is what errors call the file, `slope` the iterations of slopes, if any."""

    source: str
    name: str
    recipe: str | None
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    results: tuple[str, ...]
    slope: tuple[int, int] | None
    arms: dict[str, Arm]

    def cells(self, root: str) -> list[Cell]:
        """All cells, their configurations resolved, in the order in which they are run: seed by seed over the arms.

        So all arms are complete for the first seeds as early as can be. Their runs lie in `root`/`name`. UserError
        names arm and key for a wrong recipe or override, two arms that are the same, and a result of a benchmark that
        an arm does not ask.
        """
        cells = [cell for seed in self.seeds for cell in self._row(seed, root)]
        seen: dict[str, str] = {}
        for cell in cells[: len(self.arms)]:
            self._check_benchmarks(cell)
            values = repr({**values_of(cell.config), "run.name": None})
            if values in seen:
                raise UserError(f"{self.source}: arms {seen[values]} and {cell.arm} are the same; remove one")
            seen[values] = cell.arm
        return cells

    def _check_benchmarks(self, cell: Cell) -> None:
        asked = cell.config.evaluation.benchmarks
        for result in self.results:
            benchmark = benchmark_of(result)
            if benchmark is not None and benchmark not in asked:
                what = f"arm {cell.arm} asks {', '.join(asked) or 'no benchmark'} (evaluation.benchmarks)"
                raise UserError(f"{self.source}: results: {result!r}: {what}")

    def _row(self, seed: int, root: str) -> Iterable[Cell]:
        """The cells of one seed. An arm that another one starts from stands before it."""
        row: dict[str, Cell] = {}
        for name, arm in self.arms.items():
            row[name] = self._cell(name, seed, root, row[arm.after] if arm.after is not None else None)
        return row.values()

    def _cell(self, name: str, seed: int, root: str, after: Cell | None) -> Cell:
        arm = self.arms[name]
        recipe = arm.recipe or self.recipe
        if recipe is None:
            raise UserError(f"{self.source}: arm {name}: recipe: is missing, here and for all arms; for instance nano")
        overrides = [*self.overrides, *arm.overrides]
        if arm.ablation != NO_ABLATION:
            overrides.append(f"ablation={arm.ablation}")
        if after is not None:
            overrides.append(f"model.path={after.last_solver}")
        overrides += [f"seed={seed}", f"run.root={Path(root) / self.name}", f"run.name={name}-seed{seed}"]
        try:
            config: Config = load_recipe(recipe, overrides)
        except UserError as error:
            raise UserError(f"{self.source}: arm {name}: {error}") from None
        return Cell(name, seed, (recipe, *overrides), config, after)


def read_grid(file: str) -> Grid:
    """A grid file, or a grid that ships with the package, by name.

    UserError names file and key for what is unknown, missing, of another type, or there twice.
    """
    if file in grid_names():
        return _grid(parse_yaml(grid_text(file), file), file, file)
    path = Path(file)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        close = alike(path.stem, grid_names())
        hint = f"did you mean {close}?" if close else f"there are {', '.join(grid_names())}"
        raise UserError(f"{file}: no such grid or YAML file; {hint}")
    return _grid(read_yaml(path), file, path.stem)


def _grid(node: Node, source: str, stem: str) -> Grid:
    if not isinstance(node, dict):
        raise UserError(f"{source}: has to be a mapping of keys, name, recipe, seeds, arms")
    rest = dict(node)
    arms = _arms(rest.pop("arms", {}), source)
    known = merged(_File(), rest, source)
    name = known.name or stem
    _check_name(name, "name", source)
    if not known.seeds:
        raise UserError(f"{source}: seeds: is missing, for instance [0, 1, 2, 3, 4]")
    _check_once(known.seeds, "seeds", source)
    _check_once(known.results, "results", source)
    for result in known.results:
        _check_result(result, source)
    _check_overrides(known.overrides, "overrides", source)
    seeds, overrides, results = tuple(known.seeds), tuple(known.overrides), tuple(known.results)
    return Grid(source, name, known.recipe, seeds, overrides, results, _slope(known.slope, source), arms)


def _check_result(result: str, source: str) -> None:
    try:
        result_named(result)
    except KeyError:
        there = f"{', '.join(RESULTS)}, {', '.join(OF_BENCHMARK)} of BENCHMARK, and {RELIABILITY} of KIND"
        hint = did_you_mean(result, list(RESULTS)) or f"; there are {there}"
        raise UserError(f"{source}: results: {result!r} is no result{hint}") from None


def _slope(given: Sequence[int], source: str) -> tuple[int, int] | None:
    if not given:
        return None
    if len(given) != 2 or not 0 <= given[0] < given[1]:
        raise UserError(f"{source}: slope: {list(given)} is not a first and a later iteration, for instance [5, 10]")
    return given[0], given[1]


def _arms(node: Node, source: str) -> dict[str, Arm]:
    if not isinstance(node, dict) or not node:
        what = "has to be a mapping, NAME: {recipe, ablation, overrides, after}, of one or more"
        raise UserError(f"{source}: arms: {what}")
    arms = dict(_each_arm(node, source))
    for number, (name, arm) in enumerate(arms.items()):
        before = list(arms)[:number]
        if arm.after is not None and arm.after not in before:
            there = f"there are {', '.join(before)}" if before else "it is the first"
            raise UserError(f"{source}: arm {name}: after: {arm.after!r} is no arm above it; {there}")
        if arm.after is not None and any(_key(override) == "model.path" for override in arm.overrides):
            raise UserError(
                f"{source}: arm {name}: model.path: is the Solver of {arm.after} (after); set one of the two"
            )
    return arms


def _each_arm(node: dict[str, Node], source: str) -> Iterator[tuple[str, Arm]]:
    for name, given in node.items():
        _check_name(name, "arms", source)
        empty = isinstance(given, Scalar) and given.plain and given.text in ("", "null")
        arm = merged(Arm(), {} if empty else given, f"arm {name} of {source}")
        _check_overrides(arm.overrides, f"arm {name}: overrides", source)
        yield name, arm


def _check_name(name: str, key: str, source: str) -> None:
    if not _NAME.fullmatch(name):
        what = f"{name!r} is not a folder's name; use letters, digits, dots, dashes and underscores"
        raise UserError(f"{source}: {key}: {what}")


def _check_once(values: Sequence[object], key: str, source: str) -> None:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise UserError(f"{source}: {key}: {value} stands there twice; remove one")


def _check_overrides(overrides: Sequence[str], where: str, source: str) -> None:
    for override in overrides:
        if _key(override) in _OWN_KEYS:
            raise UserError(f"{source}: {where}: {override}: is what the grid gives each of its runs; remove it")


def _key(override: str) -> str:
    return override.partition("=")[0].strip()
