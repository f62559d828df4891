"""The table of results as Markdown and as CSV, and a cell's text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rzero_mega.evaluation.published import BesidePaper
from rzero_mega.evaluation.statistics import Estimate
from rzero_mega.evaluation.table import Cell, ResultTable

NOTHING = "\N{EN DASH}"
PAPER_HEADINGS = ("model", "ours", "paper", "difference", "our gain", "paper's gain")
_HEADINGS = (
    "benchmark",
    "model",
    "items",
    "value",
    "low",
    "high",
    "delta",
    "delta_low",
    "delta_high",
    "detectable",
    "paper",
)


def as_markdown(table: ResultTable, paper: BesidePaper | None = None) -> str:
    """Markdown tables, in percent: value [interval], and in points the difference from the first column; remarks."""
    rows = [(row.label, *map(_both, row.cells)) for row in table.rows]
    parts = [markdown_table(("benchmark", *table.columns), rows), *table.remarks]
    if paper is not None:
        parts += [markdown_table(("beside the paper", *PAPER_HEADINGS), paper_cells(paper)), *paper.remarks]
    return "\n\n".join(parts) + "\n"


def as_csv(table: ResultTable, paper: BesidePaper | None = None) -> str:
    """One line per row and column, as fractions; bounds that nothing tells are empty."""
    theirs = {(row.label, row.column): row.paper for row in paper.rows} if paper is not None else {}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADINGS)
    for row in table.rows:
        for name, cell in zip(table.columns, row.cells, strict=True):
            if cell is not None:
                found = (*numbers(cell.value), *numbers(cell.delta), cell.detectable, theirs.get((row.label, name)))
                writer.writerow((row.label, name, cell.value.items, *found))
    return out.getvalue()


def paper_cells(paper: BesidePaper) -> list[tuple[str, ...]]:
    """The rows beside the paper, under "benchmark" and PAPER_HEADINGS, in percent and points."""
    return [
        (
            row.label.removesuffix(", average"),
            row.column,
            *(f"{100 * value:.1f}" for value in (row.ours, row.paper)),
            signed(row.ours - row.paper),
            *(NOTHING if gain is None else signed(gain) for gain in (row.our_gain, row.paper_gain)),
        )
        for row in paper.rows
    ]


def value_text(estimate: Estimate | None) -> str:
    """A share in percent with its interval, for instance "62.8 [60.9, 64.7]"."""
    if estimate is None:
        return NOTHING
    text = f"{100 * estimate.value:.1f}"
    known = abs(estimate.low) != float("inf")
    return f"{text} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]" if known else text


def delta_text(estimate: Estimate | None) -> str:
    """A difference in points with its interval, for instance "+12.3 [+10.4, +14.2]"."""
    if estimate is None:
        return NOTHING
    return f"{signed(estimate.value)} [{signed(estimate.low)}, {signed(estimate.high)}]"


def signed(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return with_minus(f"{100 * share:+.1f}")


def with_minus(number: str) -> str:
    """A number's text with a minus sign in place of the hyphen."""
    return number.replace("-", "\N{MINUS SIGN}")


def _both(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    return value_text(cell.value) + (f", {delta_text(cell.delta)}" if cell.delta is not None else "")


def numbers(estimate: Estimate | None) -> tuple[float | None, ...]:
    """For CSV: value and the ends of its interval, None for what is not there or has no bound."""
    if estimate is None:
        return (None, None, None)
    ends = (None if abs(end) == float("inf") else end for end in (estimate.low, estimate.high))
    return (estimate.value, *ends)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table without a line break at its end."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
