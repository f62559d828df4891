"""The paper's own results, and results of the same models beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from rzero_mega.evaluation.results import SCORE
from rzero_mega.evaluation.table import GENERAL, MATHEMATICS, Contender, ResultTable, Row, kind
from rzero_mega.yaml_text import Node, Scalar, parse_yaml

OF_MATHEMATICS = ("math500", "gsm8k", "amc23", "minerva_math", "olympiadbench", "aime24", "aime25")
"""What the paper's average of mathematics is of."""
JUDGE = "The paper had a judge look again at what rules call wrong: gains can be compared, values only roughly."
PART = "Ours is of a part of the problems."
OTHER_AVERAGE = (
    "The paper's average of mathematics is of MATH-500, GSM8K, AMC23, Minerva, OlympiadBench, AIME24 and AIME25; ours "
    "is of others, so neither it nor the overall average stands here."
)


@dataclass(frozen=True)
class PublishedRow:
    """A result beside the paper's, and what both gained over their base, as shares. Of the base, gains are None."""

    label: str
    column: str
    ours: float
    paper: float
    our_gain: float | None
    paper_gain: float | None


@dataclass(frozen=True)
class BesidePaper:
    """Results of one of the paper's models beside the paper's. `remarks` belong below them."""

    model: str
    rows: tuple[PublishedRow, ...]
    remarks: tuple[str, ...]


def published(model: str) -> Mapping[str, Mapping[str, float]]:
    """The paper's results for a model by stage, in percent; empty if it is not one of the paper's four."""
    return _all().get(_name(model), {})


def beside_paper(table: ResultTable, columns: Sequence[Contender]) -> BesidePaper | None:
    """The columns of the paper's models, at the paper's stages, beside its numbers; None where it has none of them."""
    model = next((_name(column.model) for column in columns if published(column.model)), None)
    rows = tuple(row for line in table.rows for row in _rows(line, columns, model or ""))
    if model is None or not rows:
        return None
    mathematics = [row for row in table.rows if row.label.startswith(MATHEMATICS)]
    remarks = [JUDGE]
    if any(":" in name for row in table.rows if _key(row) for name in row.benchmarks):
        remarks.append(PART)
    if mathematics and not any(map(_key, mathematics)):
        remarks.append(OTHER_AVERAGE)
    return BesidePaper(model, rows, tuple(remarks))


def _rows(row: Row, columns: Sequence[Contender], model: str) -> Iterator[PublishedRow]:
    key, paper = _key(row), published(model)
    if key is None:
        return
    mine = [
        (column, cell.value.value)
        for column, cell in zip(columns, row.cells, strict=True)
        if cell is not None and _name(column.model) == model and _stage(column) in paper
    ]
    base = next((value for column, value in mine if column.iteration == 0), None)
    for column, ours in mine:
        theirs, first = paper[_stage(column)][key], paper["base"][key]
        gains = (
            (None, None) if column.iteration == 0 else (None if base is None else ours - base, (theirs - first) / 100)
        )
        yield PublishedRow(row.label, column.name, ours, theirs / 100, *gains)


def _key(row: Row) -> str | None:
    """The paper's name for what a row is of; None if the paper has nothing of the kind."""
    kinds = sorted(map(kind, row.benchmarks))
    if row.measure != SCORE:
        return None
    if len(kinds) == 1:
        return kinds[0] if kinds[0] in GENERAL else None
    if kinds == sorted(OF_MATHEMATICS):
        return MATHEMATICS
    return "overall" if kinds == sorted((*OF_MATHEMATICS, *GENERAL)) else None


def _stage(column: Contender) -> str:
    return "base" if column.iteration == 0 else f"iteration {column.iteration}"


def _name(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2]


@cache
def _all() -> dict[str, dict[str, dict[str, float]]]:
    text = (files("rzero_mega.evaluation") / "published.yaml").read_text(encoding="utf-8")
    return {
        model: {
            stage: {key: _number(value) for key, value in _mapping(row).items()}
            for stage, row in _mapping(rows).items()
        }
        for model, rows in _mapping(parse_yaml(text, "published.yaml")).items()
    }


def _mapping(node: Node) -> dict[str, Node]:
    assert isinstance(node, dict)
    return node


def _number(node: Node) -> float:
    assert isinstance(node, Scalar)
    return float(node.text)
