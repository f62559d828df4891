"""A grid's table as text, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from rzero_mega.evaluation.statistics import Estimate
from rzero_mega.grid.cell import State
from rzero_mega.grid.results import RESULTS
from rzero_mega.grid.summary import ArmSummary, GridSummary, Row

Form = Literal["text", "markdown", "csv"]
FORMS: tuple[str, ...] = get_args(Form)
NOTHING = "–"


def as_table(summary: GridSummary, form: Form) -> str:
    """The table in one of its forms, with a line break at its end."""
    return {"text": as_text, "markdown": as_markdown, "csv": as_csv}[form](summary)


def as_text(summary: GridSummary) -> str:
    """A small table per arm, in percent and numbers of questions, and another of its differences from the first arm."""
    lines = [f"{summary.name}: {_arms(summary)}", *_legend(summary)]
    for number, arm in enumerate(summary.arms):
        lines += ["", f"{arm.arm} · {_how_far(arm)}"]
        if arm.rows:
            lines += _aligned(_cells(arm.rows, summary.results, deltas=False))
        if number and _compared(arm):
            first = summary.arms[0].arm
            lines += ["", f"{arm.arm} minus {first}, seed by seed"]
            lines += _aligned(_cells(_compared(arm), summary.results, deltas=True))
    return "\n".join(lines) + "\n"


def as_markdown(summary: GridSummary) -> str:
    """Two Markdown tables, of all arms and of their differences from the first, under lines that say what they are."""
    lines = [f"{summary.name}: {_arms(summary)}", *_legend(summary), ""]
    lines += [f"- {arm.arm}: {_how_far(arm)}" for arm in summary.arms]
    head = ["arm", "iteration", "seeds", *summary.results]
    for deltas in (False, True):
        rows = []
        for arm in summary.arms[1 if deltas else 0 :]:
            chosen = _compared(arm) if deltas else arm.rows
            name = f"{arm.arm} minus {summary.arms[0].arm}" if deltas else arm.arm
            rows += [[name, *cells] for cells in _cells(chosen, summary.results, deltas)[1:]]
        if rows:
            table = [head, ["---"] * len(head), *rows]
            lines += ["", *("| " + " | ".join(row) + " |" for row in table)]
    return "\n".join(lines) + "\n"


def as_csv(summary: GridSummary) -> str:
    """A line per arm, iteration and result; shares as fractions. `delta_seeds` counts the pairs of a difference."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ends = ("value", "low", "high", "delta", "delta_low", "delta_high", "delta_seeds")
    writer.writerow(("arm", "iteration", "result", "seeds", *ends))
    for arm in summary.arms:
        for row in arm.rows:
            for name in summary.results:
                value, delta = row.values[name], row.deltas[name]
                if value is not None:
                    of_delta = (*_ends(delta), delta.items) if delta else ("", "", "", "")
                    writer.writerow((arm.arm, row.stage, name, value.items, *_ends(value), *of_delta))
    return out.getvalue()


def _ends(estimate: Estimate) -> tuple[object, ...]:
    bounds = [bound if math.isfinite(bound) else "" for bound in (estimate.low, estimate.high)]
    return (estimate.value, *bounds)


def _arms(summary: GridSummary) -> str:
    seeds = sum(arm.seeds for arm in summary.arms)
    finished = sum(arm.finished for arm in summary.arms)
    return f"{len(summary.arms)} arms, {finished} of {seeds} runs finished"


def _how_far(arm: ArmSummary) -> str:
    words = [f"{count} {state}" for state, count in arm.states.items() if state is not State.FINISHED]
    return ", ".join([f"{arm.finished} of {arm.seeds} seeds finished", *words])


def _legend(summary: GridSummary) -> list[str]:
    lines = ["mean over seeds ± half of its 95 % interval (Student's t), none from one seed;"]
    lines.append("in percent, but for the number of questions kept")
    if any(row for arm in summary.arms[1:] for row in _compared(arm)):
        lines.append("* a difference whose interval leaves out zero, as one of twenty does by chance")
    apart = [arm.arm for arm in summary.arms if not arm.comparable]
    if apart:
        lines.append(f"evaluated otherwise than {summary.arms[0].arm}, so not compared: {', '.join(apart)}")
    return lines


def _compared(arm: ArmSummary) -> list[Row]:
    """The rows that have a difference from the first arm."""
    return [row for row in arm.rows if any(row.deltas.values())]


def _cells(rows: Sequence[Row], results: Sequence[str], deltas: bool) -> list[list[str]]:
    """A heading, then a line per row."""
    lines = [["iteration", "seeds", *results]]
    for row in rows:
        chosen: Mapping[str, Estimate | None] = row.deltas if deltas else row.values
        seeds = max(estimate.items for estimate in chosen.values() if estimate) if deltas else row.seeds
        texts = [_text(chosen[name], RESULTS[name].share, seeds, deltas) for name in results]
        lines.append([row.stage, str(seeds), *texts])
    return lines


def _text(estimate: Estimate | None, share: bool, seeds: int, delta: bool) -> str:
    """For instance "62.8 ±1.6"; with "(2)" behind it if it is from fewer seeds than its row."""
    if estimate is None:
        return NOTHING
    scale, digits = (100, 1) if share else (1, 0)
    sign = "+" if delta else ""
    text = f"{scale * estimate.value:{sign}.{digits}f}"
    half = (estimate.high - estimate.low) / 2
    if math.isfinite(half):
        text += f" ±{scale * half:.{digits}f}"
        text += "*" if delta and estimate.tells_apart else ""
    return text if estimate.items == seeds else f"{text} ({estimate.items})"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
