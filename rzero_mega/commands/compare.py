"""The command `compare`: the table of one run's iterations, of several models, and of several seeds of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from rzero_mega.commands.kept_evaluation import FINISHED
from rzero_mega.config.kinds import kinds, values_of
from rzero_mega.config.schema.metadata import Change
from rzero_mega.errors import UserError
from rzero_mega.evaluation.formats import as_csv, as_markdown
from rzero_mega.evaluation.judge_report import grader_of
from rzero_mega.evaluation.published import published
from rzero_mega.evaluation.results import ModelScores, read_scores
from rzero_mega.evaluation.scores import SCORES
from rzero_mega.evaluation.table import Contender
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, RunDirectory
from rzero_mega.run.sealed import read_sealed
from rzero_mega.terminal import say
from rzero_mega.tracking.results import Results, contender, groups_of, results_of, show_results

Format = Literal["text", "markdown", "csv"]
FORMATS: tuple[str, ...] = get_args(Format)


class _Source(Protocol):
    """What an argument names. `wanted` is the iteration that it names, `iterations` are those that are evaluated."""

    @property
    def name(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def wanted(self) -> int | None: ...
    @property
    def iterations(self) -> Sequence[int]: ...
    @property
    def recipe(self) -> object:
        """Equal for sources that differ in their seed alone."""
        ...

    def at(self, iteration: int) -> tuple[Contender, Mapping[str, str]]:
        """The model after an iteration, and the groups of its benchmarks."""
        ...


@dataclass(frozen=True)
class _Run:
    """A run, with the manifests of its evaluations."""

    run: RunDirectory
    wanted: int | None
    evaluated: Mapping[int, Manifest]

    @property
    def name(self) -> str:
        return self.run.path.resolve().name

    @property
    def seed(self) -> int:
        return int(self.run.config.seed)

    @property
    def iterations(self) -> Sequence[int]:
        return list(self.evaluated)

    @property
    def recipe(self) -> object:
        values = values_of(self.run.config)
        decisive = {key: value for key, value in values.items() if kinds()[key].change is not Change.OPERATIONAL}
        return self.wanted, {key: value for key, value in decisive.items() if key != "seed"}

    def at(self, iteration: int) -> tuple[Contender, Mapping[str, str]]:
        manifest = self.evaluated[iteration]
        return contender(self.run, manifest), groups_of(manifest.summary)


@dataclass(frozen=True)
class _Kept:
    """A folder that `eval --output` keeps of a model, which belongs to no iteration."""

    folder: Path
    facts: Mapping[str, object]
    seed: int = 0
    wanted: int | None = None
    iterations: Sequence[int] = (0,)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def recipe(self) -> object:
        return self

    def at(self, iteration: int) -> tuple[Contender, Mapping[str, str]]:
        found, model = self.facts.get("summary"), str(self.facts.get("model", ""))
        summary = found if isinstance(found, dict) else {}
        scores = read_scores(self.folder / SCORES)
        stage = 0 if published(model) else None  # a model of that name is the paper's base itself
        return Contender(self.name, {0: scores}, model, stage, grader_of(summary)), groups_of(summary)


def show_comparison(arguments: Sequence[str], form: str) -> None:
    """Print the table of what the arguments name: RUN, RUN@ITERATION, FOLDER. UserError names what has no results."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: is none of {', '.join(FORMATS)}")
    found = compared(arguments)
    if form == "markdown":
        say(as_markdown(found.table, found.paper), end="")
    elif form == "csv":
        say(as_csv(found.table, found.paper), end="")
    else:
        show_results(found)


def compared(arguments: Sequence[str]) -> Results:
    """The table: of one recipe all its iterations, of several the last that each has, or those that are named.

    Runs that differ in their seed alone are one column.
    """
    recipes = _recipes([_source(argument) for argument in arguments])
    alone = len(recipes) == 1
    columns: list[Contender] = []
    groups: dict[str, str] = {}
    for alike in recipes:
        for iteration in _iterations(alike, alone):
            models: dict[int, ModelScores] = {}
            for source in alike:
                one, grouped = source.at(iteration)
                models[source.seed] = next(iter(one.seeds.values()))
                groups |= grouped
            columns.append(Contender(_name(alike, iteration, alone), models, one.model, one.iteration, one.graded))
    return results_of(columns, groups)


def _source(argument: str) -> _Source:
    path, iteration = Path(argument), None
    if not path.exists() and (named := re.fullmatch(r"(.+)@(base|\d{1,9})", argument)):
        path, iteration = Path(named[1]), 0 if named[2] == "base" else int(named[2])
    if (path / FINISHED).is_file():
        if iteration is not None:
            raise UserError(f"{argument}: is the evaluation of one model, which has no iterations; leave out the @")
        return _Kept(path, read_sealed(path / FINISHED, f"remove {path} to evaluate again"))
    inside = sorted(entry.parent for entry in path.glob(f"*/{FINISHED}"))
    if inside and not (path / "run.json").is_file():
        raise UserError(f"{path}: holds several evaluations; name them: {' '.join(map(str, inside))}")
    return _run(argument, path, iteration)


def _run(argument: str, path: Path, iteration: int | None) -> _Run:
    run = RunDirectory.open_existing(path)
    manifests = ((number, run.phase(number, PhaseName.EVALUATE).manifest()) for number in run.iterations())
    evaluated = {
        number: manifest for number, manifest in manifests if manifest is not None and "scores" in manifest.outputs
    }
    if not evaluated:
        raise UserError(f"{path}: no evaluation is finished; go on with the run, or see evaluation.benchmarks")
    if iteration is not None and iteration not in evaluated:
        there = ", ".join("base" if number == 0 else str(number) for number in evaluated)
        raise UserError(f"{argument}: this iteration has no finished evaluation; there are {there}")
    return _Run(run, iteration, evaluated)


def _recipes(sources: Sequence[_Source]) -> list[list[_Source]]:
    """Runs that differ in their seed alone stand together, unless two of them have the same one."""
    found: list[list[_Source]] = []
    for source in sources:
        alike = next((some for some in found if some[0].recipe == source.recipe), None)
        if alike is None or any(other.seed == source.seed for other in alike):
            found.append([source])
        else:
            alike.append(source)
    return found


def _iterations(alike: Sequence[_Source], alone: bool) -> Sequence[int]:
    """Those of the table, of which all of the runs have an evaluation."""
    if alike[0].wanted is not None:
        return [alike[0].wanted]
    common = [number for number in alike[0].iterations if all(number in source.iterations for source in alike)]
    if not common:
        names = ", ".join(source.name for source in alike)
        raise UserError(f"{names}: no iteration of theirs is evaluated in all; leave out the one that lacks them")
    return common if alone else common[-1:]


def _name(alike: Sequence[_Source], iteration: int, alone: bool) -> str:
    if isinstance(alike[0], _Kept):
        return alike[0].name
    if alone:
        return "base" if iteration == 0 else f"iteration {iteration}"
    names = {source.name.replace(f"-seed{source.seed}", "") for source in alike}
    name = alike[0].name if len(alike) == 1 or len(names) > 1 else names.pop()
    seeds = f", {len(alike)} seeds" if len(alike) > 1 else ""
    return f"{name}@{'base' if iteration == 0 else iteration}{seeds}"
