"""The command `compare`: the table of one run's iterations, of several runs, and of several seeds of a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from rzero_mega.config import Config
from rzero_mega.config.kinds import kinds, values_of
from rzero_mega.config.schema.metadata import Change
from rzero_mega.errors import UserError
from rzero_mega.evaluation.formats import as_csv, as_markdown
from rzero_mega.evaluation.results import ModelScores
from rzero_mega.evaluation.table import Contender
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, RunDirectory
from rzero_mega.terminal import new_console, say
from rzero_mega.tracking.results import Results, contender, groups_of, remarks, results_of, tables

Format = Literal["text", "markdown", "csv"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(frozen=True)
class _Source:
    """A run that was named, and the iteration of it that was, if one was; `evaluated` are its evaluations."""

    run: RunDirectory
    wanted: int | None
    evaluated: Mapping[int, Manifest]

    @property
    def seed(self) -> int:
        return int(self.run.config.seed)

    @property
    def name(self) -> str:
        return self.run.path.resolve().name


def show_comparison(arguments: Sequence[str], form: str) -> None:
    """Print the table of what the arguments name: RUN, RUN@ITERATION. UserError names what cannot be compared."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: is none of {', '.join(FORMATS)}")
    found = compared(arguments)
    if form == "markdown":
        say(as_markdown(found.table, found.paper), end="")
    elif form == "csv":
        say(as_csv(found.table, found.paper), end="")
    else:
        console = new_console()
        for table in tables(found):
            console.print(table)
        for remark in remarks(found):
            console.print(remark)


def compared(arguments: Sequence[str]) -> Results:
    """The table: of one recipe all its iterations, of several the last that each has, or those that are named.

    Runs that differ in their seed alone are one column.
    """
    sources = [_source(argument) for argument in arguments]
    recipes = _recipes(sources)
    columns: list[Contender] = []
    groups: dict[str, str] = {}
    for alike in recipes:
        for iteration in _iterations(alike, alone=len(recipes) == 1):
            name = _name(alike, iteration, alone=len(recipes) == 1)
            models: dict[int, ModelScores] = {}
            for source in alike:
                manifest = source.evaluated[iteration]
                models |= contender(source.run, manifest).seeds
                groups |= groups_of(manifest.summary)
            columns.append(Contender(name, models, alike[0].run.config.model.path, iteration))
    return results_of(columns, groups)


def _source(argument: str) -> _Source:
    path, iteration = Path(argument), None
    if not path.exists() and (named := re.fullmatch(r"(.+)@(base|\d{1,9})", argument)):
        path, iteration = Path(named[1]), 0 if named[2] == "base" else int(named[2])
    run = RunDirectory.open_existing(path)
    evaluated = dict(_evaluations(run))
    if not evaluated:
        raise UserError(f"{path}: no evaluation is finished; go on with the run, or see evaluation.benchmarks")
    if iteration is not None and iteration not in evaluated:
        there = ", ".join("base" if number == 0 else str(number) for number in evaluated)
        raise UserError(f"{argument}: this iteration has no finished evaluation; there are {there}")
    return _Source(run, iteration, evaluated)


def _evaluations(run: RunDirectory) -> Iterator[tuple[int, Manifest]]:
    for iteration in run.iterations():
        manifest = run.phase(iteration, PhaseName.EVALUATE).manifest()
        if manifest is not None and "scores" in manifest.outputs:
            yield iteration, manifest


def _recipes(sources: Sequence[_Source]) -> list[list[_Source]]:
    """Runs that differ in their seed alone stand together, unless two of them have the same one."""
    found: list[list[_Source]] = []
    for source in sources:
        key = _identity(source)
        alike = next((some for some in found if _identity(some[0]) == key), None)
        if alike is None or any(other.seed == source.seed for other in alike):
            found.append([source])
        else:
            alike.append(source)
    return found


def _identity(source: _Source) -> tuple[int | None, Mapping[str, object]]:
    config: Config = source.run.config
    values = values_of(config)
    return source.wanted, {
        key: value for key, value in values.items() if kinds()[key].change is not Change.OPERATIONAL and key != "seed"
    }


def _iterations(alike: Sequence[_Source], alone: bool) -> list[int]:
    """Those of the table, of which all of the runs have an evaluation."""
    if alike[0].wanted is not None:
        return [alike[0].wanted]
    common = [number for number in alike[0].evaluated if all(number in source.evaluated for source in alike)]
    if not common:
        names = ", ".join(source.name for source in alike)
        raise UserError(f"{names}: no iteration of theirs is evaluated in all; leave out the one that lacks them")
    return common if alone else common[-1:]


def _name(alike: Sequence[_Source], iteration: int, alone: bool) -> str:
    stage = "base" if iteration == 0 else f"iteration {iteration}"
    if alone:
        return stage
    names = {source.name.replace(f"-seed{source.seed}", "") for source in alike}
    name = alike[0].name if len(alike) == 1 or len(names) > 1 else names.pop()
    seeds = f", {len(alike)} seeds" if len(alike) > 1 else ""
    return f"{name}@{'base' if iteration == 0 else iteration}{seeds}"
