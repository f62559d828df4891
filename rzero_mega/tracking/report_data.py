"""What the report shows, read from a run directory that may be unfinished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.label_audit import LabelAudit
from rzero_mega.coevolution.label_guard import Decision
from rzero_mega.coevolution.label_quality import NOT_KNOWN, LabelQuality
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import read_records
from rzero_mega.run import Manifest, PhaseDirectory, RunDirectory, RunInfo
from rzero_mega.tracking.answer_scores import AnswerScores, scores_in
from rzero_mega.tracking.gauges import BASE_GAUGES, decision_in, gauges_in
from rzero_mega.tracking.gpu_hours import PhaseUse, run_use
from rzero_mega.tracking.label_audits import label_audits
from rzero_mega.tracking.status import RunStatus, by_protocol, run_status
from rzero_mega.tracking.summaries import mean, scalar

if TYPE_CHECKING:
    from rzero_mega.tracking.results import Results

Row = Mapping[str, Any]
# Of the questions that the report shows.
_SHARE_OF_KEPT = 0.6


@dataclass(frozen=True)
class AnswerCount:
    """How many of the Solver's samples gave an answer, word for word; `answer` None counts samples without one."""

    answer: str | None
    count: int
    is_label: bool


@dataclass(frozen=True)
class IterationRecord:
    """What one iteration left: manifests of its finished phases, the metrics of all, and a few of its questions."""

    iteration: int
    manifests: Mapping[PhaseName, Manifest]
    rows: Mapping[PhaseName, Sequence[Row]]
    questions: tuple[LabelledQuestion, ...]
    audits: tuple[LabelAudit, ...] = ()

    @property
    def name(self) -> str:
        """How tables and axes call it."""
        return "base" if self.iteration == 0 else str(self.iteration)

    def value(self, phase: PhaseName, key: str) -> float | None:
        """A number of a phase's summary; None while the phase is unfinished."""
        manifest = self.manifests.get(phase)
        return scalar(manifest.summary, key) if manifest else None

    def step_mean(self, phase: PhaseName, key: str) -> float | None:
        """The mean of a metric over a phase's steps."""
        return mean(scalar(row, key) for row in self.rows.get(phase, ()))

    def exploit(self, phase: Literal[PhaseName.CHALLENGER, PhaseName.LABELS], key: str) -> float | None:
        """What `coevolution.checks.shares` counted, as a mean of the training steps or over the written questions."""
        if phase is PhaseName.CHALLENGER:
            return self.step_mean(phase, f"hacking/{key}")
        manifest = self.manifests.get(phase)
        counted = manifest.summary.get("hacking") if manifest else None
        return scalar(counted, key) if isinstance(counted, Mapping) else None

    def counted_only(self, phase: Literal[PhaseName.CHALLENGER, PhaseName.LABELS]) -> float | None:
        """Share of the questions in which checks that are off find a flaw, and none that is on."""
        found, closed = self.exploit(phase, "any"), self.exploit(phase, "closed")
        return None if found is None or closed is None else max(0.0, found - closed)

    @property
    def quality(self) -> LabelQuality:
        """What the labels are worth, by the first oracle."""
        return self.audits[0].quality if self.audits else NOT_KNOWN

    @property
    def scores(self) -> AnswerScores | None:
        """Those of the answers to its questions, in a domain that has them in place of labels."""
        return scores_in(self.manifests.get(PhaseName.LABELS))

    @property
    def gauges(self) -> Gauges | None:
        """Those of the iteration's Solver."""
        manifest = self.manifests.get(PhaseName.EVALUATE)
        return gauges_in(manifest.summary) if manifest else None

    @property
    def base_gauges(self) -> Gauges | None:
        """Those of the base's votes in iteration 1, with which the Solver's are compared."""
        manifest = self.manifests.get(PhaseName.EVALUATE)
        return gauges_in(manifest.summary, BASE_GAUGES) if manifest else None

    @property
    def guard(self) -> Decision | None:
        """What the guard made of the iteration."""
        manifest = self.manifests.get(PhaseName.EVALUATE)
        return decision_in(manifest.summary) if manifest else None

    @property
    def seconds(self) -> float:
        """Wall time of the finished phases."""
        return sum(manifest.seconds for manifest in self.manifests.values())

    def benchmarks(self) -> dict[str, Mapping[str, Any]]:
        """Accuracy by benchmark: {benchmark: {mean, greedy, vote, problems}}."""
        manifest = self.manifests.get(PhaseName.EVALUATE)
        found = manifest.summary.get("by_benchmark") if manifest else None
        known = found if isinstance(found, Mapping) else {}
        return {str(name): values for name, values in known.items() if isinstance(values, Mapping)}

    def levels(self) -> dict[str, Mapping[str, Any]]:
        """Accuracy by level (or benchmark): {level: {mean, greedy}}."""
        manifest = self.manifests.get(PhaseName.EVALUATE)
        levels = manifest.summary.get("by_level") if manifest else None
        found = levels if isinstance(levels, Mapping) else {}
        return {str(level): values for level, values in found.items() if isinstance(values, Mapping)}


@dataclass(frozen=True)
class ReportData:
    """A run as the report sees it.

    `iterations` holds those in which anything happened, the base as number 0; `resumed` counts the attempts after the
    first, over all finished phases. `results` is the table of results, and `no_results` says why there is none. `uses`
    has where the GPU-hours of every phase went.
    """

    info: RunInfo
    config: Any
    status: RunStatus
    iterations: tuple[IterationRecord, ...]
    resumed: int
    results: Results | None = None
    no_results: str | None = None
    uses: tuple[PhaseUse, ...] = ()

    @property
    def trained(self) -> tuple[IterationRecord, ...]:
        """All iterations but the base."""
        return tuple(record for record in self.iterations if record.iteration > 0)

    @property
    def base(self) -> IterationRecord | None:
        """The base model's evaluation."""
        return next((record for record in self.iterations if record.iteration == 0), None)

    @property
    def scored(self) -> bool:
        """Whether answers have scores in place of labels, as far as a labels phase has shown it."""
        return any(record.scores is not None for record in self.trained)

    @property
    def gauged(self) -> tuple[IterationRecord, ...]:
        """The iterations that have gauges."""
        return tuple(record for record in self.trained if record.gauges is not None)

    def last_evaluated(self) -> IterationRecord | None:
        """The last trained iteration with an accuracy."""
        done = [record for record in self.trained if record.value(PhaseName.EVALUATE, self.headline) is not None]
        return done[-1] if done else None

    @property
    def headline(self) -> str:
        """The accuracy that stands for a model: over samples, or by the protocols of benchmarks that have their own."""
        return "value" if by_protocol(self.status) else "pass1_mean"

    def gain(self, record: IterationRecord, key: str | None = None) -> float | None:
        """Accuracy over that of the base, as a difference of shares; the headline's by default."""
        key = key or self.headline
        before = self.base.value(PhaseName.EVALUATE, key) if self.base else None
        after = record.value(PhaseName.EVALUATE, key)
        return None if before is None or after is None else after - before


def gather(run: RunDirectory) -> ReportData:
    """Read everything the report needs."""
    numbers = run.iterations()
    trained = sum(number > 0 for number in numbers)
    per_iteration = -(-run.config.tracking.sample_questions // trained) if trained else 0
    records = tuple(_record(run, number, per_iteration) for number in numbers)
    resumed = sum(manifest.attempts - 1 for record in records for manifest in record.manifests.values())
    uses = tuple(run_use(run))
    return ReportData(run.info, run.config, run_status(run), records, resumed, *results_or_reason(run), uses)


def results_or_reason(
    run: RunDirectory, iterations: Collection[int] | None = None
) -> tuple[Results | None, str | None]:
    """The table of results of these iterations, of all by default, or why there is none, which is no error here."""
    try:
        from rzero_mega.tracking.results import run_results  # takes scipy, which status does without

        return run_results(run, iterations), None
    except UserError as error:
        return None, str(error)
    except ModuleNotFoundError as error:
        return None, f"The table of results takes {error.name}, which is not installed here."


def _record(run: RunDirectory, iteration: int, shown_questions: int) -> IterationRecord:
    manifests: dict[PhaseName, Manifest] = {}
    rows: dict[PhaseName, Sequence[Row]] = {}
    for name in PhaseName:
        phase = run.phase(iteration, name)
        manifest = phase.manifest()
        if manifest is not None:
            manifests[name] = manifest
        rows[name] = phase.metrics()
    shown = PhaseName.LABELS in manifests
    questions = sample_questions(run.phase(iteration, PhaseName.LABELS), shown_questions) if shown else []
    audits = label_audits(run, iteration, manifests.get(PhaseName.LABELS))
    return IterationRecord(iteration, manifests, rows, tuple(questions), audits)


def sample_questions(phase: PhaseDirectory, count: int) -> list[LabelledQuestion]:
    """Some of the questions that a finished labels phase left, see `choose_questions`; none for other phases."""
    path = phase.path / "labelled.jsonl"
    if phase.phase is not PhaseName.LABELS or not count or not path.is_file():
        return []
    return choose_questions(read_records(path, LabelledQuestion, skip_malformed=True), count)


def choose_questions(labelled: Sequence[LabelledQuestion], count: int) -> list[LabelledQuestion]:
    """Spread evenly over the kept questions, and over the dropped ones ordered by reason; always the same ones."""
    kept = [question for question in labelled if question.kept]
    dropped = sorted((question for question in labelled if not question.kept), key=lambda q: str(q.dropped))
    wanted = min(len(kept), max(round(count * _SHARE_OF_KEPT), count - len(dropped)))
    return _spread(kept, wanted) + _spread(dropped, count - wanted)


def answer_counts(question: AnsweredQuestion) -> list[AnswerCount]:
    """The answers to a question, the most frequent first, samples without one last."""
    label = question.vote.answer
    counts = Counter(question.answers).most_common()
    found = [AnswerCount(answer, count, answer is not None and answer == label) for answer, count in counts]
    return sorted(found, key=lambda count: (count.answer is None, -count.count))


def _spread(questions: Sequence[LabelledQuestion], count: int) -> list[LabelledQuestion]:
    if count <= 0 or not questions:
        return []
    count = min(count, len(questions))
    return [questions[index * len(questions) // count] for index in range(count)]
