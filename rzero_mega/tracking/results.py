"""The table of results of a run: what its evaluate phases kept, as contenders, on the terminal and for W&B."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from rzero_mega.evaluation.definition import title_of
from rzero_mega.evaluation.formats import PAPER_HEADINGS, delta_text, paper_cells, value_text
from rzero_mega.evaluation.judge_report import grader_of
from rzero_mega.evaluation.published import BesidePaper, beside_paper
from rzero_mega.evaluation.results import read_scores
from rzero_mega.evaluation.table import Contender, ResultTable, result_table
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, RunDirectory
from rzero_mega.terminal import new_console

WANDB_COLUMNS = ("iteration", "benchmark", "questions", "value", "low", "high", "gain", "gain low", "gain high")


@dataclass(frozen=True)
class Results:
    """The table of several models, and what of it the paper has too."""

    table: ResultTable
    paper: BesidePaper | None


def results_of(columns: Sequence[Contender], groups: Mapping[str, str]) -> Results:
    """The table of contenders, `groups` by benchmark."""
    names = dict.fromkeys(name for column in columns for model in column.seeds.values() for name in model.benchmarks)
    table = result_table(columns, groups, {name: title_of(name) for name in names})
    return Results(table, beside_paper(table, columns))


def run_results(run: RunDirectory, iterations: Collection[int] | None = None) -> Results | None:
    """The table of a run's evaluated iterations, the base before the others; None where none has kept scores.

    `iterations`, if given, are those that are looked at. UserError names scores that are damaged or gone.
    """
    columns: list[Contender] = []
    groups: dict[str, str] = {}
    for iteration in run.iterations():
        manifest = run.phase(iteration, PhaseName.EVALUATE).manifest()
        if manifest is not None and "scores" in manifest.outputs and (iterations is None or iteration in iterations):
            columns.append(contender(run, manifest))
            groups |= groups_of(manifest.summary)
    return results_of(columns, groups) if columns else None


def contender(run: RunDirectory, manifest: Manifest, name: str | None = None) -> Contender:
    """The model that a finished evaluate phase was about. UserError names scores that are damaged or gone."""
    iteration, scores = manifest.iteration, manifest.outputs["scores"]
    model = read_scores(run.phase(iteration, PhaseName.EVALUATE).path / scores.path, scores.sha256)
    own = "base" if iteration == 0 else f"iteration {iteration}"
    return Contender(
        name or own, {run.config.seed: model}, run.config.model.path, iteration, grader_of(manifest.summary)
    )


def groups_of(summary: Mapping[str, object]) -> dict[str, str]:
    """The group of every benchmark, as far as an evaluation's summary names them."""
    found = summary.get("by_benchmark")
    named = found if isinstance(found, Mapping) else {}
    groups = {str(name): values.get("group") for name, values in named.items() if isinstance(values, Mapping)}
    return {name: group for name, group in groups.items() if isinstance(group, str)}


def tables(results: Results) -> list[Table]:
    """For the terminal: a row per benchmark and model, under each other, so that any number of models fits."""
    table = Table(title="accuracy in percent, difference in points, with 95 % intervals", title_justify="left")
    table.add_column("benchmark", overflow="fold")
    table.add_column("model", overflow="fold")
    table.add_column("accuracy", justify="right", no_wrap=True)
    compared = len(results.table.columns) > 1
    if compared:
        table.add_column(f"from {results.table.columns[0]}", justify="right")
    for row in results.table.rows:
        label = row.label
        for name, cell in zip(results.table.columns, row.cells, strict=True):
            if cell is not None:
                delta = [delta_text(cell.delta) if cell.delta is not None else ""] if compared else []
                table.add_row(label, name, value_text(cell.value), *delta)
                label = ""
        if compared:
            table.add_section()
    return [table] if results.paper is None else [table, _paper_table(results.paper)]


def remarks(results: Results) -> list[str]:
    """What belongs below the tables."""
    return [*results.table.remarks, *(results.paper.remarks if results.paper is not None else ())]


def show_results(results: Results) -> None:
    """Print tables and remarks on the terminal."""
    console = new_console()
    for item in [*tables(results), *remarks(results)]:
        console.print(item)


def wandb_rows(results: Results, iteration: int) -> list[tuple[object, ...]]:
    """The last column's results in the order of WANDB_COLUMNS, as shares."""
    rows: list[tuple[object, ...]] = []
    for row in results.table.rows:
        cell = row.cells[-1]
        if cell is not None:
            value, gain = cell.value, cell.delta
            gains = (None, None, None) if gain is None else (gain.value, gain.low, gain.high)
            rows.append((iteration, row.label, value.items, value.value, value.low, value.high, *gains))
    return rows


def _paper_table(paper: BesidePaper) -> Table:
    table = Table(title=f"{paper.model} beside the paper, in percent and points", title_justify="left")
    table.add_column("benchmark")
    for heading in PAPER_HEADINGS:
        table.add_column(heading, justify="left" if heading == "model" else "right")
    last = ""
    for label, *cells in paper_cells(paper):
        table.add_row("" if label == last else label, *cells)
        last = label
    return table
