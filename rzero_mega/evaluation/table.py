"""The paper's table: models side by side, each benchmark, the averages, with intervals and differences."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from omegaconf import OmegaConf

from rzero_mega.evaluation.statistics import Estimate, accuracy, difference, mean_of

GENERAL = ("supergpqa", "mmlu_pro", "bbeh")
"""With the average of mathematics these are the four that the paper's overall average is of."""


@dataclass(frozen=True)
class ModelScores:
    """A model's score on every question, by benchmark: the same questions in the same order for all models."""

    model: str
    scores: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Cell:
    """An accuracy, and its difference from the first model's where that has been measured on the same questions."""

    value: Estimate
    delta: Estimate | None = None


@dataclass(frozen=True)
class Row:
    """A benchmark or an average, with a cell per model; None where a model has not been measured."""

    label: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class ResultTable:
    """Results of several models, the first of which the others are compared with."""

    models: tuple[str, ...]
    rows: tuple[Row, ...]


def result_table(models: Sequence[ModelScores], groups: Mapping[str, str], titles: Mapping[str, str]) -> ResultTable:
    """A row per benchmark, then averages of groups with several, then the paper's overall average if it can be taken.

    `groups` and `titles` are by benchmark. An average is of the benchmarks that every model has been measured on.
    """
    names = [name for name in groups if any(name in model.scores for model in models)]
    rows = [_row(titles.get(name, name), models, {name: 1.0}) for name in names]
    everywhere = [name for name in names if all(name in model.scores for model in models)]
    for group in dict.fromkeys(groups[name] for name in everywhere):
        members = [name for name in everywhere if groups[name] == group]
        if len(members) > 1:
            rows.append(_row(f"{group}, average", models, dict.fromkeys(members, 1 / len(members))))
    mathematics = [name for name in everywhere if groups[name] == "mathematics"]
    if mathematics and set(GENERAL) <= set(everywhere):
        share = 1 / (1 + len(GENERAL))
        weights = dict.fromkeys(mathematics, share / len(mathematics)) | dict.fromkeys(GENERAL, share)
        rows.append(_row("overall", models, weights))
    return ResultTable(tuple(model.model for model in models), tuple(rows))


def _row(label: str, models: Sequence[ModelScores], weights: Mapping[str, float]) -> Row:
    first = models[0].scores
    cells: list[Cell | None] = []
    for number, model in enumerate(models):
        if not weights.keys() <= model.scores.keys():
            cells.append(None)
            continue
        groups = [model.scores[name] for name in weights]
        comparable = number > 0 and all(len(first.get(name, ())) == len(model.scores[name]) for name in weights)
        if len(groups) == 1:
            (name,) = weights
            cells.append(Cell(accuracy(groups[0]), difference(groups[0], first[name]) if comparable else None))
            continue
        shares = list(weights.values())
        deltas = [
            [b - a for a, b in zip(first[name], model.scores[name], strict=True)] for name in weights if comparable
        ]
        cells.append(Cell(mean_of(groups, shares), mean_of(deltas, shares) if comparable else None))
    return Row(label, tuple(cells))


def as_markdown(table: ResultTable) -> str:
    """A Markdown table, in percent: value [interval], and in points the difference from the first model."""
    lines = ["| benchmark | " + " | ".join(table.models) + " |", "|---" * (1 + len(table.models)) + "|"]
    lines += [f"| {row.label} | " + " | ".join(map(_text, row.cells)) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def as_csv(table: ResultTable) -> str:
    """One line per benchmark and model, as fractions."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("benchmark", "model", "items", "value", "low", "high", "delta", "delta_low", "delta_high"))
    for row in table.rows:
        for model, cell in zip(table.models, row.cells, strict=True):
            if cell:
                delta = (cell.delta.value, cell.delta.low, cell.delta.high) if cell.delta else ("", "", "")
                value = cell.value
                writer.writerow((row.label, model, value.items, value.value, value.low, value.high, *delta))
    return out.getvalue()


def remarks(table: ResultTable) -> list[str]:
    """What samples of these sizes cannot tell: the differences whose interval holds zero, by model."""
    found = []
    for number, model in enumerate(table.models):
        unclear = [
            row.label for row in table.rows if (cell := row.cells[number]) and cell.delta and not cell.delta.tells_apart
        ]
        if unclear:
            found.append(f"{model} and {table.models[0]} cannot be told apart on: {', '.join(unclear)}")
    return found


def published(model: str) -> dict[str, dict[str, float]]:
    """The paper's results for a model by stage, in percent; empty if it is not one of the paper's four."""
    text = (files("rzero_mega.evaluation") / "published.yaml").read_text(encoding="utf-8")
    rows = OmegaConf.to_container(OmegaConf.create(text))
    assert isinstance(rows, dict)
    return dict(rows.get(model.rpartition("/")[2], {}))


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "–"
    text = f"{100 * cell.value.value:.1f} [{100 * cell.value.low:.1f}, {100 * cell.value.high:.1f}]"
    if cell.delta:
        low, high = 100 * cell.delta.low, 100 * cell.delta.high
        text += f", {100 * cell.delta.value:+.1f} [{low:+.1f}, {high:+.1f}]"
    return text
