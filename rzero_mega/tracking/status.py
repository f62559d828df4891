"""Where a run stands: its plan, and what its manifests and metrics say is done of it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rzero_mega.coevolution.critic_measures import MeasuredCritic
from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.label_audit import LabelAudit
from rzero_mega.coevolution.label_guard import Decision
from rzero_mega.coevolution.label_quality import NOT_KNOWN, LabelQuality
from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.coevolution.verdicts import Measured
from rzero_mega.config.panel import widened
from rzero_mega.config.schema import Config
from rzero_mega.config.steps import phase_steps
from rzero_mega.evaluation.judge_report import graded_by
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, PhaseDirectory, RunDirectory
from rzero_mega.tracking.answer_scores import AnswerScores, scores_in
from rzero_mega.tracking.critic import critic_in
from rzero_mega.tracking.current import Current, current_phase
from rzero_mega.tracking.differences import Difference, differences_in
from rzero_mega.tracking.gauges import BASE_GAUGES, Halt, decision_in, gauges_in, halt_of
from rzero_mega.tracking.label_audits import label_audits
from rzero_mega.tracking.label_costs import LabelCost, label_costs
from rzero_mega.tracking.summaries import is_number, percent, scalar
from rzero_mega.tracking.values import KeyHistory, key_histories
from rzero_mega.tracking.verifier import measured_in, verdicts_in
from rzero_mega.tracking.words import diagnostic_text

State = Literal["finished", "running", "stopped", "skipped", "pending"]
RunState = Literal["finished", "running", "stopped", "halted"]
ModelState = Literal["kept", "removed", "missing"]


@dataclass(frozen=True)
class PhaseStatus:
    """`stopped` has partial work and no living writer; `skipped` is not in the plan.

    `step` of `steps` counts what `planned_steps` does; null where unknown. `model` says whether the model that a
    finished phase left is still there; null for phases that leave none.
    """

    state: State
    step: int | None
    steps: int | None
    seconds: float | None
    attempts: int | None
    model: ModelState | None = None


@dataclass(frozen=True)
class IterationStatus:
    """One iteration; shares are between 0 and 1, null where not known (yet). `seconds` is per finished phase.

    `value` is the mean of what each benchmark's protocol asks for; `intervals` are 95 % over problems, by these names.
    `benchmarks` is the mean accuracy by benchmark, over which `pass1_mean` is a mean, but for those of the group
    transfer, which have a mean of their own.
    `flawed_questions` is the share of the written questions in which a check that is on finds a flaw. `audits` are
    those of the labels, by every oracle that was asked. `graded_by` says by whose word answers are right. `label_costs`
    are by source of votes. `gauges` are those of the iteration's Solver, `base_gauges` what the base's votes came to,
    `guard` what was decided about them. `learning_rates` are those of the finished training phases.
    `verifier` is what the iteration's Verifier was measured to do, `verdicts` what the one before it did to the labels,
    `critic` what the iteration's Critic was measured to do.
    `scores` are those of the answers to the iteration's questions, in a domain that has them in place of labels.
    `differences` between learner and rollout engine are those of the finished phases that train on rollouts.
    """

    iteration: int
    label_accuracy: float | None
    kept_questions: int | None
    flawed_questions: float | None
    value: float | None
    pass1_mean: float | None
    pass1_greedy: float | None
    transfer: float | None
    intervals: Mapping[str, tuple[float, float]]
    benchmarks: Mapping[str, float]
    seconds: Mapping[PhaseName, float]
    phases: Mapping[PhaseName, PhaseStatus]
    audits: tuple[LabelAudit, ...] = ()
    graded_by: str | None = None
    label_costs: Mapping[str, LabelCost] = field(default_factory=dict)
    gauges: Gauges | None = None
    base_gauges: Gauges | None = None
    guard: Decision | None = None
    learning_rates: Mapping[PhaseName, float] = field(default_factory=dict)
    verifier: Measured | None = None
    critic: MeasuredCritic | None = None
    verdicts: Mapping[str, Any] = field(default_factory=dict)
    scores: AnswerScores | None = None
    differences: Mapping[PhaseName, Difference] = field(default_factory=dict)

    @property
    def quality(self) -> LabelQuality:
        """What the labels are worth, by the first oracle."""
        return self.audits[0].quality if self.audits else NOT_KNOWN


@dataclass(frozen=True)
class RunStatus:
    """A run: `state` is halted where the guard has ended it; `seconds` is the wall time of its finished phases.

    `halt` says why the guard has ended it, and `current` is the phase that is not finished and has begun.

    `values` are the keys that had other values in phases that have begun. `diagnostic` says why the run is no
    self-play.
    """

    name: str
    path: str
    id: str
    recipe: str
    state: RunState
    seconds: float
    iterations: tuple[IterationStatus, ...]
    values: tuple[KeyHistory, ...] = ()
    current: Current | None = None
    diagnostic: str | None = None
    halt: Halt | None = None

    @property
    def phases(self) -> tuple[PhaseName, ...]:
        """Those of any iteration, in their order."""
        return tuple(name for name in PhaseName if any(name in row.phases for row in self.iterations))

    def as_json(self) -> dict[str, Any]:
        """What `status --json` prints."""
        return asdict(self) | {"iterations": [asdict(iteration) for iteration in self.iterations]}


def run_status(run: RunDirectory) -> RunStatus:
    """Read the state of every phase of every iteration, those to come included."""
    alive = run.is_alive()
    planned = {(plan.iteration, plan.name) for plan in iteration_plan(run.config)}
    wanted = sorted({iteration for iteration, _ in planned} | set(run.iterations()))
    iterations = tuple(_iteration_status(run, iteration, planned, alive) for iteration in wanted)
    states = [phase.state for iteration in iterations for phase in iteration.phases.values()]
    unfinished = any(state not in ("finished", "skipped") for state in states)
    halt = halt_of(run, run.config)
    state: RunState = "finished" if not unfinished else "running" if alive else "halted" if halt else "stopped"
    seconds = round(sum(sum(iteration.seconds.values()) for iteration in iterations), 3)
    values = tuple(key_histories(run, run.config))
    return RunStatus(
        run.path.name,
        str(run.path),
        run.info.id,
        run.info.recipe,
        state,
        seconds,
        iterations,
        values,
        current_phase(run, iterations),
        diagnostic_text(run.config),
        halt,
    )


def planned_steps(run: RunDirectory, iteration: int, phase: PhaseName) -> int | None:
    """How many steps or parts the phase has; None for labels while their questions are not written."""
    written = _written(run.phase(iteration, PhaseName.QUESTIONS).manifest())
    return phase_steps(_config(run, iteration), phase, written, _replayed(run, iteration))


def _config(run: RunDirectory, iteration: int) -> Config:
    """The run's, with the guard's panel in the labels of an iteration in which that votes."""
    before = run.phase(iteration - 1, PhaseName.EVALUATE).manifest() if iteration > 1 else None
    decision = decision_in(before.summary) if before is not None else None
    return widened(run.config) if decision is not None and decision.widened else run.config


def _iteration_status(
    run: RunDirectory, iteration: int, planned: Set[tuple[int, PhaseName]], alive: bool
) -> IterationStatus:
    names = tuple(PhaseName) if iteration > 0 else (PhaseName.EVALUATE,)
    # No phase that is left out, but a role that the run does not have.
    roles = {PhaseName.VERIFIER: run.config.verifier.train, PhaseName.CRITIC: run.config.critic.train}
    names = tuple(name for name in names if roles.get(name, True))
    folders = {name: run.phase(iteration, name) for name in names}
    manifests = {name: folder.manifest() for name, folder in folders.items()}
    written, config = _written(manifests.get(PhaseName.QUESTIONS)), _config(run, iteration)
    evaluated = manifests[PhaseName.EVALUATE]
    told: Mapping[str, Any] = evaluated.summary if evaluated is not None else {}
    phases, replayed = {}, _replayed(run, iteration)
    for name, folder in folders.items():
        if (iteration, name) in planned or folder.has_begun():
            steps = phase_steps(config, name, written, replayed)
            phases[name] = _phase_status(folder, manifests[name], steps, alive)
        else:
            phases[name] = PhaseStatus("skipped", None, None, None, None)
    return IterationStatus(
        iteration=iteration,
        label_accuracy=_number(manifests.get(PhaseName.LABELS), "label_accuracy"),
        kept_questions=_count(manifests.get(PhaseName.LABELS), "kept"),
        flawed_questions=_number(manifests.get(PhaseName.LABELS), "hacking", "closed"),
        value=_number(evaluated, "value"),
        pass1_mean=_number(evaluated, "pass1_mean"),
        pass1_greedy=_number(evaluated, "pass1_greedy"),
        transfer=_number(evaluated, "transfer"),
        intervals=_intervals(evaluated),
        benchmarks=_benchmarks(evaluated),
        seconds={name: manifest.seconds for name, manifest in manifests.items() if manifest},
        phases=phases,
        audits=label_audits(run, iteration, manifests.get(PhaseName.LABELS)),
        label_costs=label_costs(manifests.get(PhaseName.LABELS)),
        graded_by=graded_by(told) if evaluated is not None else None,
        gauges=gauges_in(told),
        base_gauges=gauges_in(told, BASE_GAUGES),
        guard=decision_in(told),
        learning_rates={
            name: rate for name, manifest in manifests.items() if (rate := _number(manifest, "learning_rate"))
        },
        verifier=measured_in(manifests.get(PhaseName.VERIFIER)),
        critic=critic_in(manifests.get(PhaseName.CRITIC)),
        verdicts=verdicts_in(manifests.get(PhaseName.LABELS)),
        scores=scores_in(manifests.get(PhaseName.LABELS)),
        differences=differences_in(manifests),
    )


def _phase_status(folder: PhaseDirectory, manifest: Manifest | None, steps: int | None, alive: bool) -> PhaseStatus:
    if manifest is not None:
        return PhaseStatus("finished", steps, steps, manifest.seconds, manifest.attempts, _model(folder, manifest))
    if not folder.has_begun():
        return PhaseStatus("pending", None, steps, None, None)
    rows = folder.metrics()
    step = rows[-1]["step"] if rows else len(folder.finished_parts()) or folder.percent_done()
    return PhaseStatus("running" if alive else "stopped", step, steps, None, None)


def _model(folder: PhaseDirectory, manifest: Manifest) -> ModelState | None:
    artefact = manifest.outputs.get("model")
    if artefact is None:
        return None
    if (folder.path / artefact.path).exists():
        return "kept"
    return "removed" if folder.is_removed("model") else "missing"


def grading_lines(status: RunStatus) -> list[str]:
    """By whose word answers are right: one line where all iterations have the same."""
    words = {row.iteration: row.graded_by for row in status.iterations if row.graded_by is not None}
    if len(set(words.values())) == 1:
        return [f"answers: {next(iter(words.values()))}"]
    return [f"answers of {f'iteration {i}' if i else 'the base'}: {text}" for i, text in words.items()]


def diagnostic_lines(status: RunStatus) -> list[str]:
    """What keeps the run from being compared with others as a method; nothing of most runs."""
    return [] if status.diagnostic is None else [f"this run is {status.diagnostic}"]


def rate_lines(status: RunStatus) -> list[str]:
    """The learning rate of every iteration, a line per role whose rate isn't the same in all."""
    lines = []
    for name in PhaseName:
        rates = [f"{row.learning_rates[name]:.3g}" for row in status.iterations if name in row.learning_rates]
        if len(set(rates)) > 1:
            lines.append(f"learning rate of {name}: {' → '.join(rates)}")
    return lines


def models_line(status: RunStatus) -> str | None:
    """Which models are no longer there; None where all are that were made."""
    gone = [
        f"{row.iteration}/{name}" + (" (not by run.keep_models)" if phase.model == "missing" else "")
        for row in status.iterations
        for name, phase in row.phases.items()
        if phase.model in ("removed", "missing")
    ]
    kept = sum(phase.model == "kept" for row in status.iterations for phase in row.phases.values())
    return f"models: {kept} kept; removed: {', '.join(gone)}" if gone else None


def interval_lines(status: RunStatus) -> list[str]:
    """The intervals of base and last iteration, a line per accuracy that `iterations_table` shows."""
    evaluated = [row for row in status.iterations if row.intervals]
    names = {"value": "score"} if by_protocol(status) else {"pass1_mean": "mean", "pass1_greedy": "greedy"}
    lines = []
    for key, name in (names | {"transfer": "transfer"}).items():
        rows = [row for row in evaluated if key in row.intervals]
        shown = [rows[0], *rows[-1:]] if len(rows) > 1 else rows
        words = [_with_interval(row, key) for row in shown]
        if words:
            lines.append(f"{name:6} {' → '.join(words)}, 95 %")
    return lines


def by_protocol(status: RunStatus) -> bool:
    """Whether benchmarks are scored by protocols of their own, some of them greedily: a mean would be of the others."""
    return any(row.value is not None and row.value != row.pass1_mean for row in status.iterations)


def _with_interval(row: IterationStatus, key: str) -> str:
    low, high = row.intervals[key]
    name = "base" if row.iteration == 0 else f"iteration {row.iteration}"
    return f"{name} {percent(getattr(row, key))} [{100 * low:.1f}, {100 * high:.1f}]"


def _intervals(manifest: Manifest | None) -> dict[str, tuple[float, float]]:
    found = manifest.summary.get("intervals") if manifest else None
    named = found if isinstance(found, Mapping) else {}
    pairs = {str(key): ends for key, ends in named.items() if isinstance(ends, list) and len(ends) == 2}
    return {key: (low, high) for key, (low, high) in pairs.items() if is_number(low) and is_number(high)}


def _benchmarks(manifest: Manifest | None) -> dict[str, float]:
    found = manifest.summary.get("by_benchmark") if manifest else None
    named = found if isinstance(found, Mapping) else {}
    # Runs of earlier versions have no score: their benchmarks were all sampled.
    means = {
        str(name): scalar(values, "score" if "score" in values else "mean")
        for name, values in named.items()
        if isinstance(values, Mapping)
    }
    return {name: value for name, value in means.items() if value is not None}


def _written(questions: Manifest | None) -> int | None:
    return _count(questions, "well_formed")


def _replayed(run: RunDirectory, iteration: int) -> int:
    """How many earlier questions are voted on again; fewer where earlier data sets share some, or with this one."""
    wanted = run.config.labels.replay.questions
    earlier = range(1, iteration) if wanted else ()
    kept = sum(_count(run.phase(number, PhaseName.LABELS).manifest(), "kept") or 0 for number in earlier)
    return min(wanted, kept)


def _number(manifest: Manifest | None, *keys: str) -> float | None:
    value: Any = manifest.summary if manifest else None
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(manifest: Manifest | None, key: str) -> int | None:
    value = _number(manifest, key)
    return None if value is None else int(value)
