"""report.html: one self-contained page on a run. No scripts, no requests, light and dark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from rzero_mega.atomic import write_text
from rzero_mega.config import to_yaml
from rzero_mega.phase_name import TRAINING_PHASES, PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import figures, gauge_figures
from rzero_mega.tracking.charts import compact
from rzero_mega.tracking.critic import critic_headings, critic_in, critic_rows
from rzero_mega.tracking.differences import difference_lines
from rzero_mega.tracking.exploits import TABLES, exploit_headings, exploit_line, exploit_rows
from rzero_mega.tracking.gauge_rows import LONG, guard_lines, long_rows, stages
from rzero_mega.tracking.gpu_hours import of_last_iteration
from rzero_mega.tracking.label_audits import HEADINGS, audit_rows
from rzero_mega.tracking.label_costs import label_costs, total
from rzero_mega.tracking.report_data import IterationRecord, ReportData, answer_counts, gather
from rzero_mega.tracking.status import grading_lines
from rzero_mega.tracking.summaries import NOTHING, duration, mean, percent, points, scalar
from rzero_mega.tracking.use_rows import idle_table, long_table, remark, servers_table
from rzero_mega.tracking.verifier import HEADINGS as HEADINGS_OF_VERIFIER
from rzero_mega.tracking.verifier import measured_in, verdicts_in, verifier_rows
from rzero_mega.tracking.words import model_text, reason_text

_ACCURACIES = {"pass1_mean": "Mean pass@1", "pass1_greedy": "Greedy pass@1", "vote_accuracy": "Vote"}
_SCORE = {"value": "Score"}
_TRANSFER = {"transfer": "Transfer"}
_OF_SCORES = {
    "answers' score": "score",
    "spread": "spread",
    "hidden quality": "quality",
    "hidden, of kept": "quality_kept",
}
_STEP_SECONDS = (("generate", "generate_seconds"), ("reward", "reward_seconds"), ("train", "train_seconds"))


@dataclass(frozen=True)
class Tile:
    """One number at the top of the page."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class Table:
    """Headings and rows of cells; the first column is a row's name."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_report(run: RunDirectory, path: Path) -> None:
    """Write the report of a run, finished or not, whole or not at all. Raises UserError for storage that refuses."""
    write_text(path, render(gather(run)))


def render(data: ReportData) -> str:
    """The page. All text is escaped by the template engine; model text also loses characters that print nothing."""
    environment = Environment(
        loader=PackageLoader("rzero_mega.tracking"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "model_text": model_text,
        "reason": reason_text,
        "answer_counts": answer_counts,
    }
    return environment.get_template("report.html").render(
        data=data,
        verdict=verdict(data),
        tiles=tiles(data),
        iteration_figures=figures.iteration_figures(data),
        step_figures=figures.step_figures(data),
        differences=difference_lines((row.iteration, row.differences) for row in data.status.iterations),
        histograms=figures.histogram_figures(data),
        level_figure=figures.level_figure(data),
        time_figure=figures.time_figure(data),
        iterations=iterations_table(data),
        levels=levels_table(data),
        benchmarks=benchmarks_table(data),
        results=results_tables(data),
        remarks=results_remarks(data),
        dropped=dropped_table(data),
        audits=audits_table(data),
        label_costs=label_costs_table(data),
        p_hat_figures=figures.p_hat_figures(data),
        worth_figures=gauge_figures.worth_figures(data),
        gauge_figures=gauge_figures.gauge_figures(data),
        gauges=gauges_table(data),
        guard=guard_lines((record.iteration, record.guard) for record in data.trained),
        verifier=verifier_table(data),
        verifier_figure=figures.verifier_figure(data),
        critic=critic_table(data),
        critic_figure=figures.critic_figure(data),
        exploit_figure=figures.exploit_figure(data),
        exploit_line=exploit_line(data),
        exploits=exploits_tables(data),
        steps=step_seconds_table(data),
        use=use_tables(data),
        use_remark=remark(data.uses),
        values=values_table(data),
        config=to_yaml(data.config),
    )


def verdict(data: ReportData) -> str:
    """The run in one sentence."""
    state, time = data.status.state, duration(data.status.seconds)
    last = data.last_evaluated()
    gain = data.gain(last) if last else None
    if last is None or gain is None or data.base is None:
        done = sum(PhaseName.SOLVER in record.manifests for record in data.trained)
        why = "no accuracy to compare with the base yet"
        if not data.config.evaluation.benchmarks:
            why = (
                "no accuracy, since evaluation.benchmarks is empty: with evaluation.benchmarks=[FILE.jsonl], a file "
                "whose lines are objects with question and answer, the same command measures it"
            )
        return f"{done} of {data.config.iterations} iterations in {time}; {why}."
    before, after = (record.value(PhaseName.EVALUATE, data.headline) for record in (data.base, last))
    count = f"{last.iteration} iteration{'s' if last.iteration != 1 else ''}"
    so_far = "" if state == "finished" else " so far"
    return (
        f"{points(gain)} points over the base after {count}{so_far}: {percent(before)} → {percent(after)}, in {time}."
    )


def tiles(data: ReportData) -> list[Tile]:
    """The numbers at the top; those not known are left out."""
    found: list[Tile] = []
    last = data.last_evaluated()
    if last is not None:
        for key, name in ((_SCORE if data.headline == "value" else _ACCURACIES) | _TRANSFER).items():
            value, gain = last.value(PhaseName.EVALUATE, key), data.gain(last, key)
            note = f"{points(gain)} points over base" if gain is not None else f"iteration {last.iteration}"
            if value is not None:
                found.append(Tile(name, percent(value), note))
    accuracies = [record.value(PhaseName.LABELS, "label_accuracy") for record in data.trained]
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    if known:
        first = f"{percent(known[0])} at first" if len(known) > 1 else "in the first iteration"
        found.append(Tile("Label accuracy", percent(known[-1]), first))
    qualities = [record.scores.quality for record in data.trained if record.scores is not None]
    if qualities and qualities[-1] is not None:
        first = f"{percent(qualities[0])} at first" if len(qualities) > 1 else "in the first iteration"
        found.append(Tile("Hidden quality", percent(qualities[-1]), first))
    told = data.gauged[-1].gauges if data.gauged else None
    if told is not None and told.agreement_in_band is not None:
        note = f"of majorities in band, iteration {data.gauged[-1].name}"
        found.append(Tile("Agreement with the base", percent(told.agreement_in_band), note))
    kept = [value for value in (record.value(PhaseName.LABELS, "kept") for record in data.trained) if value is not None]
    if kept:
        found.append(Tile("Kept questions", compact(sum(kept)), f"over {len(kept)} iteration{'s' * (len(kept) > 1)}"))
    note = f"resumed {data.resumed} time{'s' * (data.resumed > 1)}" if data.resumed else "without interruption"
    found.append(Tile("Wall time", duration(data.status.seconds), note))
    return found


def iterations_table(data: ReportData) -> Table:
    """What every iteration brought; transfer, and what is thought of labels without truth, where they are known."""
    first = "score" if data.headline == "value" else "mean"
    accuracies = (first, "gain", "greedy", "vote", "transfer", "label accuracy", "all labels", "expected", "weight")
    headings = ("iteration", *accuracies, "asked", "well-formed")
    rows = tuple(_iteration_row(data, record) for record in data.iterations)
    table = Table((*headings, "kept", "p̂ mean", "difficulty", "unique", "time", *_OF_SCORES), rows)
    if data.scored:
        for name in ("label accuracy", "all labels", "p̂ mean", "difficulty"):
            table = _without(table, name)
    for name in ("transfer", "expected", "weight", *_OF_SCORES):
        at = table.headings.index(name)
        table = table if any(row[at] != NOTHING for row in table.rows) else _without(table, name)
    return table


def _without(table: Table, heading: str) -> Table:
    at = table.headings.index(heading)
    headings, *rows = (row[:at] + row[at + 1 :] for row in (table.headings, *table.rows))
    return Table(headings, tuple(rows))


def _iteration_row(data: ReportData, record: IterationRecord) -> tuple[str, ...]:
    asked, well_formed = record.value(PhaseName.QUESTIONS, "asked"), record.value(PhaseName.QUESTIONS, "well_formed")
    gain = data.gain(record) if record.iteration else None
    return (
        record.name,
        percent(record.value(PhaseName.EVALUATE, data.headline)),
        NOTHING if gain is None else points(gain),
        percent(record.value(PhaseName.EVALUATE, "pass1_greedy")),
        percent(record.value(PhaseName.EVALUATE, "vote_accuracy")),
        percent(record.value(PhaseName.EVALUATE, "transfer")),
        percent(record.value(PhaseName.LABELS, "label_accuracy")),
        percent(record.value(PhaseName.LABELS, "label_accuracy_all")),
        percent(record.value(PhaseName.LABELS, "expected_label_accuracy")),
        _decimal(record.value(PhaseName.LABELS, "label_weight")),
        _count(asked),
        _count(well_formed) if well_formed is None or well_formed > 1 else percent(well_formed),
        _count(record.value(PhaseName.LABELS, "kept")),
        _decimal(record.value(PhaseName.LABELS, "p_hat_mean")),
        _decimal(record.value(PhaseName.CHALLENGER, "difficulty")),
        percent(record.value(PhaseName.QUESTIONS, "unique_share")),
        duration(record.seconds) if record.manifests else NOTHING,
        *(percent(getattr(record.scores, name) if record.scores else None) for name in _OF_SCORES.values()),
    )


def results_tables(data: ReportData) -> list[Table]:
    """Accuracies, their differences from the base, and what the paper has of them; none where no scores are kept."""
    if data.results is None:
        return []
    from rzero_mega.evaluation.formats import PAPER_HEADINGS, delta_text, paper_cells, value_text

    table, paper = data.results.table, data.results.paper
    values, deltas = [], []
    for row in table.rows:
        sizes = [cell.value.items for cell in row.cells if cell is not None and len(row.benchmarks) == 1]
        questions = _count(max(sizes)) if sizes else NOTHING
        values.append((row.label, questions, *(value_text(cell.value if cell else None) for cell in row.cells)))
        deltas.append((row.label, *(delta_text(cell.delta if cell else None) for cell in row.cells[1:])))
    found = [Table(("accuracy, %", "questions", *table.columns), tuple(values))]
    if len(table.columns) > 1:
        found.append(Table((f"points from {table.columns[0]}", *table.columns[1:]), tuple(deltas)))
    if paper is not None:
        found.append(Table((f"{paper.model} beside the paper", *PAPER_HEADINGS), tuple(paper_cells(paper))))
    return found


def results_remarks(data: ReportData) -> list[str]:
    """By whose word answers are right, and what the tables of results cannot tell; or why there are none."""
    if data.results is None:
        return [data.no_results] if data.no_results is not None else []
    from rzero_mega.tracking.results import remarks

    return [*grading_lines(data.status), *remarks(data.results)]


def benchmarks_table(data: ReportData) -> Table | None:
    """Mean accuracy of every iteration by benchmark, and greedy accuracy; None where there is but one."""
    evaluated = [record for record in data.iterations if record.benchmarks()]
    names = list(dict.fromkeys(name for record in evaluated for name in record.benchmarks()))
    if len(names) < 2:
        return None
    rows = []
    for name in names:
        cells = [
            _count(next(scalar(r.benchmarks().get(name), "problems") for r in evaluated if name in r.benchmarks()))
        ]
        for record in evaluated:
            values = record.benchmarks().get(name)
            cells.append(f"{percent(scalar(values, 'mean'))} ({percent(scalar(values, 'greedy'))})")
        rows.append((name, *cells))
    headings = ("mean (greedy)", "problems", *(record.name for record in evaluated))
    return Table(headings, tuple(rows))


def levels_table(data: ReportData) -> Table | None:
    """Mean and greedy accuracy by level: the base, the last iteration, and the gain."""
    last = data.last_evaluated() or data.base
    if last is None or not last.levels():
        return None
    base = data.base.levels() if data.base else {}
    rows = []
    for level, values in last.levels().items():
        cells = [level]
        for key in ("mean", "greedy"):
            before, after = scalar(base.get(level), key), scalar(values, key)
            gain = NOTHING if before is None or after is None else points(after - before)
            cells += [f"{percent(before)} → {percent(after)}", gain]
        rows.append(tuple(cells))
    name = "base" if last.iteration == 0 else f"iteration {last.iteration}"
    return Table(("level", f"mean: base → {name}", "gain", "greedy", "gain"), tuple(rows))


def exploits_tables(data: ReportData) -> list[Table]:
    """How much there was of each way to earn without a hard question, in written questions and while training."""
    tables = [Table(exploit_headings(data, name), exploit_rows(data, phase)) for name, phase in TABLES]
    return [table for table in tables if table.rows]


def audits_table(data: ReportData) -> Table | None:
    """Label accuracy by iteration and oracle; None where nothing is audited."""
    rows = audit_rows((record.iteration, audit) for record in data.trained for audit in record.audits)
    return Table(HEADINGS, tuple(rows)) if rows else None


def gauges_table(data: ReportData) -> Table | None:
    """Labels' worth and gauges by iteration; columns without values are left out, None without any."""
    found = stages((r.iteration, r.gauges, r.base_gauges, r.quality, r.guard) for r in data.trained)
    table = Table(LONG, tuple(long_rows(found)))
    for place, heading in reversed([*enumerate(LONG)][1:]):
        if all(row[place] == NOTHING for row in table.rows):
            table = _without(table, heading)
    return table if len(table.headings) > 1 and found else None


def verifier_table(data: ReportData) -> Table | None:
    """What every Verifier does; None without one."""
    rows = verifier_rows(
        (r.iteration, measured_in(r.manifests.get(PhaseName.VERIFIER)), verdicts_in(r.manifests.get(PhaseName.LABELS)))
        for r in data.trained
    )
    return Table(HEADINGS_OF_VERIFIER, tuple(rows)) if rows else None


def critic_table(data: ReportData) -> Table | None:
    """What every Critic does; None without one."""
    found = [(record.iteration, critic_in(record.manifests.get(PhaseName.CRITIC))) for record in data.trained]
    rows = critic_rows(found)
    return Table(critic_headings(found), tuple(rows)) if rows else None


def dropped_table(data: ReportData) -> Table | None:
    """Why questions were dropped; reasons that never applied are left out."""
    counts: dict[str, dict[str, Any]] = {}
    for record in data.trained:
        labels = record.manifests.get(PhaseName.LABELS)
        dropped = labels.summary.get("dropped") if labels else None
        if isinstance(dropped, dict):
            counts[record.name] = dropped
    reasons = sorted({str(reason) for dropped in counts.values() for reason in dropped if scalar(dropped, reason)})
    if not reasons:
        return None
    rows = tuple(
        (reason_text(reason), *(_count(scalar(dropped, reason) or 0.0) for dropped in counts.values()))
        for reason in reasons
    )
    return Table(("dropped because", *(f"iteration {name}" for name in counts)), rows)


def label_costs_table(data: ReportData) -> Table | None:
    """What labels cost by source, in tokens by iteration and in time over all of them."""
    records = [(record.name, label_costs(record.manifests.get(PhaseName.LABELS))) for record in data.trained]
    known = [(name, costs) for name, costs in records if costs]
    if not known:
        return None
    rows = tuple(
        (
            name.replace("_", " "),
            *(_count(costs[name].tokens if name in costs else None) for _, costs in known),
            _count(cost.tokens),
            duration(cost.seconds),
            duration(cost.load_seconds),
        )
        for name, cost in total([costs for _, costs in known]).items()
    )
    headings = ("label tokens of", *(f"iteration {name}" for name, _ in known), "all", "drawing", "loading models")
    return Table(headings, rows)


def values_table(data: ReportData) -> Table | None:
    """The keys that had other values than now in phases that have begun; None where none had."""
    rows = tuple(
        (history.key, history.now, phase, had)
        for history in data.status.values
        for phase, had in history.phases.items()
    )
    return Table(("key", "now", "phase", "had"), rows) if rows else None


def step_seconds_table(data: ReportData) -> Table | None:
    """Where the time of a training step goes, as means over the steps."""
    rows = []
    for record in data.trained:
        for role in TRAINING_PHASES:
            steps = record.rows.get(role, ())
            seconds = [mean(scalar(row, key) for row in steps) for _, key in _STEP_SECONDS]
            if any(value is not None for value in seconds):
                shown = tuple(NOTHING if value is None else duration(value) for value in seconds)
                rows.append((f"iteration {record.name}, {role}", *shown, str(len(steps))))
    headings = ("mean of a step", *(name for name, _ in _STEP_SECONDS), "steps")
    return Table(headings, tuple(rows)) if rows else None


def use_tables(data: ReportData) -> list[Table]:
    """Where the GPU-hours went by phase; then by GPU and by server, of the last iteration. Empty ones are left out."""
    latest = of_last_iteration(data.uses)
    found = [Table(*long_table(data.uses)), Table(*idle_table(latest)), Table(*servers_table(latest))]
    return [table for table in found if table.rows]


def _count(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _decimal(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
