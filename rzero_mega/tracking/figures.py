"""The report's figures, out of its data. A figure without a single number is left out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from rzero_mega.coevolution.label_audit import AuditedLabels
from rzero_mega.config.schema.labelled import SFT
from rzero_mega.phase_name import TRAINING_PHASES, PhaseName
from rzero_mega.tracking.charts import Bars, Series, grouped_bars, histogram_chart, line_chart, stacked_rows
from rzero_mega.tracking.critic import critic_in
from rzero_mega.tracking.label_audits import paper_accuracy
from rzero_mega.tracking.report_data import IterationRecord, ReportData
from rzero_mega.tracking.summaries import duration, histogram, scalar
from rzero_mega.tracking.verifier import measured_in

PHASE_COLOURS: dict[PhaseName, str] = {
    PhaseName.CHALLENGER: "orange",
    PhaseName.QUESTIONS: "yellow",
    PhaseName.LABELS: "purple",
    PhaseName.VERIFIER: "grey",
    PhaseName.CRITIC: "grey",
    PhaseName.SOLVER: "blue",
    PhaseName.EVALUATE: "green",
}


@dataclass(frozen=True)
class Legend:
    """One entry of a figure's legend."""

    name: str
    colour: str
    dashed: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Figure:
    """A chart with its heading, a line on what is drawn, and its legend."""

    title: str
    note: str
    svg: Markup
    legend: tuple[Legend, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One number per iteration."""

    name: str
    colour: str
    value: Callable[[IterationRecord], float | None]
    dashed: bool = False


@dataclass(frozen=True)
class Metric:
    """One number per step: where it is logged and how it is drawn. `spread` names the key of a half-width."""

    name: str
    colour: str
    phase: PhaseName
    key: str
    spread: str | None = None
    bounds: tuple[float, float] = (-math.inf, math.inf)


def iteration_figures(data: ReportData) -> list[Figure]:
    """Curves over the iterations."""
    mean = "score" if data.headline == "value" else "mean"
    accuracy = [
        Curve(mean, "blue", lambda r: r.value(PhaseName.EVALUATE, data.headline)),
        Curve("greedy", "green", lambda r: r.value(PhaseName.EVALUATE, "pass1_greedy")),
        Curve("vote", "purple", lambda r: r.value(PhaseName.EVALUATE, "vote_accuracy"), dashed=True),
        Curve("transfer", "orange", lambda r: r.value(PhaseName.EVALUATE, "transfer")),
    ]
    questions = [
        Curve("asked", "grey", lambda r: r.value(PhaseName.QUESTIONS, "asked"), dashed=True),
        Curve("labelled", "purple", lambda r: r.value(PhaseName.LABELS, "labelled")),
        Curve("scored", "purple", lambda r: r.value(PhaseName.LABELS, "scored")),
        Curve("kept", "blue", lambda r: r.value(PhaseName.LABELS, "kept")),
    ]
    difficulty = [
        Curve("while training", "orange", lambda r: r.value(PhaseName.CHALLENGER, "difficulty")),
        Curve("written questions", "purple", _written_difficulty),
    ]
    diversity = [
        Curve("unique, written", "purple", lambda r: r.value(PhaseName.QUESTIONS, "unique_share")),
        Curve("unique, training", "orange", lambda r: r.step_mean(PhaseName.CHALLENGER, "unique_share")),
        Curve("clusters / batch", "grey", lambda r: r.step_mean(PhaseName.CHALLENGER, "clusters_share"), dashed=True),
    ]
    rewards = [
        Curve("Challenger", "orange", lambda r: r.step_mean(PhaseName.CHALLENGER, "reward_mean")),
        Curve("Verifier", "grey", lambda r: r.step_mean(PhaseName.VERIFIER, "reward_mean")),
        Curve("Solver", "blue", lambda r: r.step_mean(PhaseName.SOLVER, "reward_mean")),
    ]
    figures = [
        per_iteration(data, "Accuracy on held-out problems", "pass@1, base = before training", accuracy, True),
        label_figure(data),
        score_figure(data),
        per_iteration(data, "Questions", "per iteration", questions, False),
        per_iteration(data, "Difficulty", "1 \N{MINUS SIGN} mean p̂ of the questions", difficulty, True),
        per_iteration(data, "Diversity", "share of the questions", diversity, True),
        per_iteration(data, "Reward", "mean over the steps of the phase", rewards, False),
    ]
    return [figure for figure in figures if figure is not None]


def step_figures(data: ReportData) -> list[Figure]:
    """Curves over the training steps of all roles."""
    both: list[tuple[str, str, str, bool, bool]] = [
        ("KL", "to the model at the start of the phase, nats per token", "kl", False, True),
        ("KL to the base", "to the base model, nats per token", "kl_base", False, True),
        ("Entropy", "nats per token", "entropy", False, False),
        ("Response length", "tokens, mean", "response_length", False, True),
        ("Truncated responses", "share cut off at the token limit", "truncated_rate", True, True),
        ("Gradient norm", "before clipping", "grad_norm", False, True),
        ("Clipped tokens", "share at a bound of the ratio", "clip_fraction", True, True),
        ("Log-prob difference", "learner against rollout, mean |Δ| per token", "logprob_difference", False, True),
        ("KL of rollouts", "of the rollout engine to the learner, nats per token", "rollout_kl", False, True),
        ("Differing tokens", "share past a factor of 2 between the two", "importance_outside", True, True),
        ("Throughput", "tokens per second", "tokens_per_second", False, True),
    ]
    paid = data.config.challenger.reward
    least = 0.0 if paid.clamp_at_zero and paid.malformed >= 0 else -math.inf
    challenger = [Metric("reward", "orange", PhaseName.CHALLENGER, "reward_mean", "reward_std", (least, 1.0))]
    votes = [
        Metric("p̂, mean", "purple", PhaseName.CHALLENGER, "p_hat_mean"),
        Metric("uncertainty reward", "orange", PhaseName.CHALLENGER, "uncertainty_mean"),
    ]
    title_of_answers, those = "Challenger: votes", votes
    if data.scored:
        title_of_answers = "Challenger: scores"
        those = [
            Metric("score, mean", "purple", PhaseName.CHALLENGER, "score_mean"),
            Metric("spread, mean", "blue", PhaseName.CHALLENGER, "spread_mean"),
            Metric("reward by them", "orange", PhaseName.CHALLENGER, "uncertainty_mean"),
        ]
    form = [
        Metric("repetition penalty", "orange", PhaseName.CHALLENGER, "repetition_mean"),
        Metric("unique", "purple", PhaseName.CHALLENGER, "unique_share"),
        Metric("well-formed", "green", PhaseName.CHALLENGER, "well_formed_rate"),
    ]
    verifier = [Metric("reward", "grey", PhaseName.VERIFIER, "reward_mean", "reward_std", (0.0, 1.0))]
    solver = [Metric("reward", "blue", PhaseName.SOLVER, "reward_mean", "reward_std", (0.0, 1.0))]
    figures = [
        _per_step(data, "Challenger: reward", "mean of a step, ± one standard deviation", challenger, zero=True),
        _per_step(data, title_of_answers, "means over a step's questions", those, zero=True),
        _per_step(data, "Challenger: questions", "shares of a step's questions", form, zero=True),
        _per_step(data, "Verifier: reward", "mean of a step, ± one standard deviation", verifier, zero=True),
        _critic_steps(data),
        _per_step(data, "Solver: reward", "mean of a step, ± one standard deviation", solver, zero=True),
    ]
    if data.config.labelled.method == SFT:
        loss = [Metric("loss", "blue", PhaseName.SOLVER, "loss")]
        figures.append(_per_step(data, "Solver: loss", "cross entropy, nats per token", loss, zero=True))
    if _rates_change(data):
        both.append(("Learning rate", "lower in later iterations", "learning_rate", False, True))
    for title, note, key, shares, zero in both:
        roles = [
            Metric("Challenger", "orange", PhaseName.CHALLENGER, key),
            Metric("Verifier", "grey", PhaseName.VERIFIER, key),
            Metric("Critic", "grey", PhaseName.CRITIC, key),
            Metric("Solver", "blue", PhaseName.SOLVER, key),
        ]
        figures.append(_per_step(data, title, note, roles, shares, zero))
    return [figure for figure in figures if figure is not None]


def _critic_steps(data: ReportData) -> Figure | None:
    if data.config.critic.generative:
        reward = [Metric("reward", "grey", PhaseName.CRITIC, "reward_mean", "reward_std", (0.0, 1.0))]
        return _per_step(data, "Critic: reward", "mean of a step, ± one standard deviation", reward, zero=True)
    loss = [Metric("loss", "grey", PhaseName.CRITIC, "loss")]
    return _per_step(data, "Critic: loss", "-log σ(better - worse), nats per pair", loss, zero=True)


def _rates_change(data: ReportData) -> bool:
    """Whether a role's learning rate isn't the same in all its steps."""
    return any(
        len({scalar(row, "learning_rate") for record in data.trained for row in record.rows.get(role, ())}) > 1
        for role in TRAINING_PHASES
    )


def histogram_figures(data: ReportData) -> list[Figure]:
    """The distribution of p̂ over the labelled questions, one figure per iteration."""
    curation = data.config.labels.curation
    found = []
    for record in data.trained:
        labels = record.manifests.get(PhaseName.LABELS)
        bins = histogram(labels.summary if labels else None, "p_hat_histogram")
        if bins is not None:
            found.append((record, bins))
    most = max((max(counts) for _, (_, counts) in found), default=0.0)
    figures = []
    for record, (edges, counts) in found:
        title = f"Iteration {record.name}"
        svg = histogram_chart(
            edges, counts, (curation.low, curation.high), "p̂", most, f"{title}, number of questions by p̂"
        )
        note = f"number of questions; band {curation.low:g} to {curation.high:g} shaded"
        figures.append(Figure(title, note, svg))
    return figures


def verifier_figure(data: ReportData) -> Figure | None:
    """What Verifiers do on known pairs, and on real votes by the truth, over the iterations."""

    def rate(name: str, audited: bool = False) -> Callable[[IterationRecord], float | None]:
        def value(record: IterationRecord) -> float | None:
            measured = measured_in(record.manifests.get(PhaseName.VERIFIER))
            rates = None if measured is None else measured.audit if audited else measured.known
            return None if rates is None else rates.as_json()[name]

        return value

    curves = [
        Curve("balanced", "blue", rate("balanced_accuracy")),
        Curve("true-accept", "green", rate("true_accept")),
        Curve("false-accept", "orange", rate("false_accept")),
        Curve("balanced, real votes", "grey", rate("balanced_accuracy", audited=True), dashed=True),
    ]
    return per_iteration(data, "Verifier", "on known pairs; dashed by the truth, where it is known", curves, True)


def critic_figure(data: ReportData) -> Figure | None:
    """How Critics order pairs that they were not shown, kind by kind, over the iterations."""
    found = {record.iteration: critic_in(record.manifests.get(PhaseName.CRITIC)) for record in data.trained}
    kinds = dict.fromkeys(kind for measured in found.values() if measured is not None for kind in measured.kinds)

    def share(kind: str) -> Callable[[IterationRecord], float | None]:
        def value(record: IterationRecord) -> float | None:
            measured = found.get(record.iteration)  # the base's iteration has none
            reliability = None if measured is None else measured.kinds.get(kind)
            return None if reliability is None else reliability.share

        return value

    colours = itertools.cycle(("blue", "green", "orange", "purple", "yellow", "grey"))
    curves = [Curve(kind, colour, share(kind)) for kind, colour in zip(kinds, colours, strict=False)]
    return per_iteration(data, "Critic", "share of pairs in the right order, by kind", curves, True)


def exploit_figure(data: ReportData) -> Figure | None:
    """What the written questions could exploit, over the iterations."""
    curves = [
        Curve("flaw, closed", "orange", lambda r: r.exploit(PhaseName.LABELS, "closed")),
        Curve("flaw, only counted", "yellow", lambda r: r.counted_only(PhaseName.LABELS), dashed=True),
        Curve("near-duplicates", "purple", lambda r: r.exploit(PhaseName.LABELS, "near_duplicate")),
        Curve("seen before", "blue", lambda r: r.exploit(PhaseName.LABELS, "seen_before")),
        Curve("differ in numbers alone", "green", lambda r: r.exploit(PhaseName.LABELS, "template")),
        Curve("samples without an answer", "grey", lambda r: r.exploit(PhaseName.LABELS, "unanswered"), dashed=True),
    ]
    return per_iteration(data, "Written questions", "share of the questions, or of their samples", curves, True)


def score_figure(data: ReportData) -> Figure | None:
    """What the answers to the written questions scored, and what they are really worth."""
    curves = [
        Curve("score", "purple", lambda r: r.scores.score if r.scores else None),
        Curve("spread", "grey", lambda r: r.scores.spread if r.scores else None, dashed=True),
        Curve("hidden quality", "blue", lambda r: r.scores.quality if r.scores else None),
        Curve("hidden, of kept", "green", lambda r: r.scores.quality_kept if r.scores else None, dashed=True),
    ]
    return per_iteration(data, "Answers to the questions", "means; no role learns of hidden quality", curves, True)


def label_figure(data: ReportData) -> Figure | None:
    """Label accuracy of the kept questions by every oracle, with intervals; the paper's beside it."""
    audits = [(record.iteration, audit) for record in data.trained for audit in record.audits]
    oracles = {audit.oracle: audit.computed for _, audit in audits}
    series = []
    for (oracle, computed), colour in zip(oracles.items(), itertools.cycle(("blue", "purple", "orange")), strict=False):
        labels = [(iteration, audit.kept) for iteration, audit in audits if audit.oracle == oracle]
        name = "kept questions" if computed else f"kept, by {oracle}"
        series += _accuracy_line(name, colour, [(float(iteration), kept) for iteration, kept in labels])
    exactly = [(record.iteration, record.value(PhaseName.LABELS, "label_accuracy_all")) for record in data.trained]
    points = tuple((float(iteration), value) for iteration, value in exactly if value is not None)
    if points:
        series.append(Series("all questions", "grey", (points,), dashed=True))
    if not series:
        return None
    numbers = sorted({int(x) for line in series for x, _ in line.points} | set(range(1, data.config.iterations + 1)))
    paper = tuple((float(i), value) for i in numbers if (value := paper_accuracy(i)) is not None)
    series += [Series("the paper's", "yellow", (paper,), dashed=True)] if paper else []
    title, note = "Label accuracy", "share of labels that are true, 95 % interval shaded; never trained on"
    ticks = [(float(number), str(number)) for number in numbers]
    svg = line_chart(series, ticks, "iteration", shares=True, end_labels=True, name=f"{title}, {note}")
    return Figure(title, note, svg, _legend(series))


def p_hat_figures(data: ReportData) -> list[Figure]:
    """Label accuracy by p̂, a figure per iteration and oracle."""
    figures = []
    for record in data.trained:
        for audit in record.audits:
            line = _accuracy_line("accuracy", "blue", audit.by_p_hat)
            if not line:
                continue
            title, note = f"Iteration {record.name}", f"share of labels that are true, by {audit.oracle}, by p̂"
            ticks = [(value, f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
            axis = line_chart(line, ticks, "p̂", shares=True, zero=True, name=f"{title}, {note}")
            figures.append(Figure(title, note, axis))
    return figures


def _accuracy_line(name: str, colour: str, found: Sequence[tuple[float, AuditedLabels]]) -> list[Series]:
    """The accuracies that are known, with their intervals; no line where none is."""
    known = [(x, labels) for x, labels in found if labels.accuracy is not None]
    points = tuple((x, labels.accuracy) for x, labels in known if labels.accuracy is not None)
    ends = tuple((labels.low or 0.0, 1.0 if labels.high is None else labels.high) for _, labels in known)
    return [Series(name, colour, (points,), (ends,))] if points else []


def level_figure(data: ReportData) -> Figure | None:
    """Mean accuracy by level, the base beside every iteration."""
    records = [record for record in data.iterations if record.levels()]
    groups = list(dict.fromkeys(level for record in records for level in record.levels()))
    if not groups:
        return None
    bars = []
    for record in records:
        levels = record.levels()
        values = tuple(scalar(levels.get(level), "mean") for level in groups)
        trained = record.iteration > 0
        opacity = 0.35 + 0.65 * record.iteration / data.iterations[-1].iteration if trained else 1.0
        bars.append(Bars(_iteration_name(record), "blue" if trained else "grey", values, opacity))
    legend = tuple(Legend(bar.name, bar.colour, opacity=bar.opacity) for bar in bars)
    return Figure(
        "Mean accuracy by level",
        "pass@1, mean over samples",
        grouped_bars(groups, bars, name="Mean accuracy by level"),
        legend,
    )


def time_figure(data: ReportData) -> Figure | None:
    """Wall time of the finished phases, a row per iteration."""
    records = [record for record in data.iterations if record.manifests]
    if not records:
        return None
    bars, shown = [], []
    for name in PhaseName:
        seconds = [record.manifests[name].seconds if name in record.manifests else None for record in records]
        if any(seconds):
            bars.append(Bars(name, PHASE_COLOURS[name], tuple(seconds)))
            shown.append([duration(value) if value else "" for value in seconds])
    totals = [duration(record.seconds) for record in records]
    rows = [_iteration_name(record) for record in records]
    svg = stacked_rows(rows, bars, totals, shown, "Wall time per phase")
    legend = tuple(Legend(bar.name, bar.colour) for bar in bars)
    return Figure("Wall time per phase", "finished phases, attempts summed", svg, legend)


def per_iteration(data: ReportData, title: str, note: str, curves: Sequence[Curve], shares: bool) -> Figure | None:
    """Curves over the iterations; None without a single number."""
    found = [(curve, [(record.iteration, curve.value(record)) for record in data.iterations]) for curve in curves]
    lines = [iteration_line(curve.name, curve.colour, curve.dashed, values) for curve, values in found]
    return over_iterations(data, title, note, lines, shares)


def iteration_line(name: str, colour: str, dashed: bool, values: Iterable[tuple[int, float | None]]) -> Series:
    """A line of values by iteration, 0 for the base model; iterations without one are left out."""
    points = tuple((float(iteration), value) for iteration, value in values if value is not None)
    return Series(name, colour, (points,), dashed=dashed)


def over_iterations(data: ReportData, title: str, note: str, lines: Sequence[Series], shares: bool) -> Figure | None:
    """The lines that have a point, over all iterations of the run; None without any."""
    series = [line for line in lines if line.points]
    if not series:
        return None
    numbers = {int(x) for line in series for x, _ in line.points} | set(range(1, data.config.iterations + 1))
    ticks = [(float(number), "base" if number == 0 else str(number)) for number in sorted(numbers)]
    svg = line_chart(series, ticks, "iteration", shares=shares, end_labels=True, name=f"{title}, {note}")
    return Figure(title, note, svg, _legend(series))


def _per_step(
    data: ReportData, title: str, note: str, metrics: Sequence[Metric], shares: bool = False, zero: bool = False
) -> Figure | None:
    series = [line for line in (_steps(data, metric) for metric in metrics) if line is not None]
    if not series:
        return None
    iterations = range(1, 1 + max(record.iteration for record in data.trained))
    ticks = [(iteration - 0.5, str(iteration)) for iteration in iterations]
    separators = [0.0, *(float(iteration) for iteration in iterations)]
    svg = line_chart(series, ticks, "steps within iteration", shares, zero, separators, name=f"{title}, {note}")
    return Figure(title, note, svg, _legend(series))


def _steps(data: ReportData, metric: Metric) -> Series | None:
    """Steps of iteration i lie between i - 1 and i, so that all roles and unequal numbers of steps share an axis."""
    segments, spreads = [], []
    planned = {
        PhaseName.CHALLENGER: data.config.challenger.training.steps,
        PhaseName.VERIFIER: data.config.verifier.training.steps,
        PhaseName.CRITIC: data.config.critic.phase_steps,
        PhaseName.SOLVER: data.config.solver.training.steps,
    }
    for record in data.trained:
        rows = [row for row in record.rows.get(metric.phase, ()) if scalar(row, metric.key) is not None]
        steps = max([planned.get(metric.phase, 1), *(row["step"] for row in rows)])
        points = [(record.iteration - 1 + (row["step"] - 0.5) / steps, scalar(row, metric.key)) for row in rows]
        if points:
            segments.append(tuple((x, y) for x, y in points if y is not None))
            spreads.append(
                tuple(_band(metric, row, y) for row, (_, y) in zip(rows, points, strict=True) if y is not None)
            )
    if not segments:
        return None
    return Series(metric.name, metric.colour, tuple(segments), tuple(spreads) if metric.spread else ())


def _band(metric: Metric, row: Mapping[str, Any], value: float) -> tuple[float, float]:
    """The ends of a step's spread, within what the values can be and never inside the value itself."""
    half, (low, high) = (scalar(row, metric.spread) or 0.0) if metric.spread else 0.0, metric.bounds
    return min(value, max(value - half, low)), max(value, min(value + half, high))


def _legend(series: Sequence[Series]) -> tuple[Legend, ...]:
    return tuple(Legend(line.name, line.colour, line.dashed) for line in series) if len(series) > 1 else ()


def _written_difficulty(record: IterationRecord) -> float | None:
    p_hat = record.value(PhaseName.LABELS, "p_hat_mean")
    return None if p_hat is None else 1.0 - p_hat


def _iteration_name(record: IterationRecord) -> str:
    return "base" if record.iteration == 0 else f"iteration {record.iteration}"
