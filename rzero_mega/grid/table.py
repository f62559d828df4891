"""A grid's table as text, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rzero_mega.evaluation.formats import NOTHING, markdown_table, numbers, with_minus
from rzero_mega.evaluation.statistics import Estimate
from rzero_mega.grid.cell import State
from rzero_mega.grid.results import BASE, result_named
from rzero_mega.grid.summary import ArmSummary, Estimates, GridSummary, Row

WIDTH = 80
# Columns that say what a row is: arm or iteration, and seeds.
_HEADS = 2


@dataclass(frozen=True)
class _Part:
    """A titled table: the lines, headings first."""

    title: str
    lines: list[list[str]]


def as_text(summary: GridSummary) -> str:
    """Small tables of at most WIDTH columns: all arms after their last iteration, then each arm by iteration."""
    lines = _introduction(summary)
    for part in _parts(summary):
        lines += ["", part.title]
        for table in _split(part.lines):
            lines += _aligned(table)
    return "\n".join(lines) + "\n"


def as_markdown(summary: GridSummary) -> str:
    """The same as Markdown."""
    lines = ["\n".join(_introduction(summary))]
    for part in _parts(summary):
        lines += [f"**{part.title}**", markdown_table(part.lines[0], part.lines[1:])]
    return "\n\n".join(lines) + "\n"


def as_csv(summary: GridSummary) -> str:
    """A line per arm, iteration and result; shares as fractions. `pairs` counts the seeds of a difference.

    A delta is from the first arm's iteration `versus`.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = ("value", "low", "high", *_ends_of("gain"), *_ends_of("delta"), "versus")
    writer.writerow(("arm", "iteration", "result", "seeds", *ends))
    for arm in summary.arms:
        for row in arm.rows:
            for name in summary.results:
                value, gain, delta = row.values.get(name), row.gains.get(name), row.deltas.get(name)
                if value is not None:
                    found = (value.items, *numbers(value), *_paired(gain), *_paired(delta))
                    writer.writerow((arm.arm, row.stage, name, *found, row.versus if delta else ""))
    return out.getvalue()


def _ends_of(name: str) -> tuple[str, ...]:
    return (name, f"{name}_low", f"{name}_high", f"{name}_pairs")


def _paired(estimate: Estimate | None) -> tuple[object, ...]:
    return (*numbers(estimate), None if estimate is None else estimate.items)


def _introduction(summary: GridSummary) -> list[str]:
    seeds, finished = (sum(counts) for counts in zip(*((arm.seeds, arm.finished) for arm in summary.arms), strict=True))
    lines = [
        f"{summary.name}: {len(summary.arms)} arms, {finished} of {seeds} runs finished",
        "mean over seeds ± half of its 95 % interval (Student's t), none from one seed;",
        "in percent, but for the number of questions kept; differences seed by seed,",
        "* where the interval leaves out zero, as one of twenty does by chance",
    ]
    apart = [arm.arm for arm in summary.arms if not arm.comparable]
    if apart:
        lines.append(f"evaluated otherwise than {summary.arms[0].arm}, so not compared: {', '.join(apart)}")
    return lines


def _parts(summary: GridSummary) -> Iterable[_Part]:
    first, results = summary.arms[0], summary.results
    base = [(BASE, summary.base)] if summary.base is not None else []
    last = [(_last_name(arm), arm.last) for arm in summary.arms]
    yield _Part("after the last iteration", _values([*base, *last], results, "arm"))
    yield from _differences("the same, over the base", last, lambda row: row.gains, results, "arm")
    against = f"the same, over {_last_name(first)}"
    yield from _differences(against, last[1:], lambda row: row.deltas, results, "arm")
    if summary.slope is not None:
        title = f"slope per iteration, over iterations {summary.slope[0]} to {summary.slope[1]}"
        slopes = [(arm.arm, arm.slopes) for arm in summary.arms]
        yield from _estimated(title, slopes, results, "arm", extra_digits=1)
    for arm in summary.arms:
        rows = [(row.stage, row) for row in arm.rows]
        start = f", from {arm.origin}" if arm.origin else ""
        yield _Part(f"{arm.arm} by iteration{start} · {_how_far(arm)}", _values(rows, results, "iteration"))
        if arm.alongside:
            against = f"{arm.arm} over {first.arm} by iteration"
            yield from _differences(against, rows, lambda row: row.deltas, results, "iteration")


def _last_name(arm: ArmSummary) -> str:
    return f"{arm.arm} {arm.last.stage}"


def _how_far(arm: ArmSummary) -> str:
    words = [f"{count} {state}" for state, count in arm.states.items() if state is not State.FINISHED]
    return ", ".join([f"{arm.finished} of {arm.seeds} seeds finished", *words])


def _values(rows: Sequence[tuple[str, Row]], results: Sequence[str], head: str) -> list[list[str]]:
    lines = [[head, "seeds", *results]]
    for name, row in rows:
        lines.append([name, str(row.seeds), *(_text(row.values, result, row.seeds, False) for result in results)])
    return lines


def _differences(
    title: str,
    rows: Sequence[tuple[str, Row]],
    of: Callable[[Row], Estimates],
    results: Sequence[str],
    head: str,
) -> Iterable[_Part]:
    """Differences of the rows that have any."""
    return _estimated(title, [(name, of(row)) for name, row in rows], results, head)


def _estimated(
    title: str, rows: Sequence[tuple[str, Estimates]], results: Sequence[str], head: str, extra_digits: int = 0
) -> Iterable[_Part]:
    """Signed estimates: of the rows that have any, and the results of which there is one; no part without."""
    known = [(name, estimates) for name, estimates in rows if estimates]
    shown = [result for result in results if any(result in estimates for _, estimates in known)]
    lines = [[head, "seeds", *shown]]
    for name, estimates in known:
        seeds = max(estimate.items for estimate in estimates.values())
        lines.append([name, str(seeds), *(_text(estimates, result, seeds, True, extra_digits) for result in shown)])
    if len(lines) > 1:
        yield _Part(title, lines)


def _text(estimates: Estimates, result: str, seeds: int, delta: bool, extra_digits: int = 0) -> str:
    """For instance "62.8 ±1.6"; with "(2)" behind it if it is from fewer seeds than its row."""
    estimate = estimates.get(result)
    if estimate is None:
        return NOTHING
    found = result_named(result)
    scale, digits = 100 if found.share else 1, found.digits + extra_digits
    text = with_minus(f"{scale * estimate.value:{'+' if delta else ''}.{digits}f}")
    half = (estimate.high - estimate.low) / 2
    if math.isfinite(half):
        text += f" ±{scale * half:.{digits}f}"
        text += "*" if delta and estimate.tells_apart else ""
    return text if estimate.items == seeds else f"{text} ({estimate.items})"


def _split(lines: Sequence[Sequence[str]]) -> Iterable[list[list[str]]]:
    """The table as several, each with what its rows are, that fit into WIDTH columns as far as can be."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    head = sum(width + 2 for width in widths[:_HEADS]) - 2
    chosen, room = list[int](), WIDTH - head
    for column in range(_HEADS, len(widths)):
        if chosen and widths[column] + 2 > room:
            yield _chosen(lines, chosen)
            chosen, room = [], WIDTH - head
        chosen.append(column)
        room -= widths[column] + 2
    yield _chosen(lines, chosen)


def _chosen(lines: Sequence[Sequence[str]], columns: Sequence[int]) -> list[list[str]]:
    return [[*line[:_HEADS], *(line[column] for column in columns)] for line in lines]


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for number, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
