"""The run directory mirrored to Weights & Biases: one W&B run per experiment, resumed across phases and processes."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rzero_mega.atomic import read_json, write_json
from rzero_mega.errors import first_line
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, PhaseDirectory, RunDirectory
from rzero_mega.tracking.gpu_hours import phase_use
from rzero_mega.tracking.label_audits import ACCURACY_COLUMNS, accuracy_rows, label_audits
from rzero_mega.tracking.report_data import results_or_reason, sample_questions
from rzero_mega.tracking.summaries import histogram
from rzero_mega.tracking.use_rows import use_values
from rzero_mega.tracking.wandb_offline import unsent_folders
from rzero_mega.tracking.wandb_process import clear_leftovers, end_core, files_below, within
from rzero_mega.tracking.wandb_rows import (
    ACCURACY_TABLE,
    HISTOGRAM,
    ITERATION,
    RESULTS,
    TABLE,
    TABLE_COLUMNS,
    audit_values,
    axes,
    step_values,
    summary_values,
    table_row,
    tags,
)

T = TypeVar("T")
SENT = "sent.json"
_log = logging.getLogger(__name__)
# Beyond what W&B is given for an upload, for its process to answer at all.
_GRACE_S = 5.0


class WandbRun:
    """Sends what the run directory holds and W&B has not seen yet.

    The run directory is the truth: `sync` reads rows of metrics.jsonl and manifests' summaries from it, so a run that
    was killed, or whose tracking failed for a while, catches up. What was sent is remembered in wandb/sent.json, so
    steps that are done again after a kill are not sent twice and every axis only grows. What a killed process had
    handed over and W&B never got is found missing when the run is resumed, and sent again. Steps of a phase are counted
    across iterations (`train/challenger/step`); summaries lie on `iteration`. Each process that works offline makes its
    own offline folder with the same run id; `rzero-mega sync` joins them.

    W&B missing or failing never stops a run, and holds it up for tracking.timeout_s at most. What fails online goes on
    offline; what fails offline is off. The key is W&B's business alone.
    """

    def __init__(self, run: RunDirectory) -> None:
        """Start or resume the W&B run; `run` must be open for writing. Mode `disabled` makes all calls do nothing."""
        self._directory = run
        self._folder = run.path / "wandb"
        self._timeout = run.config.tracking.timeout_s
        self._sent = _Sent()
        self._complete: dict[Path, int] = {}
        self._wandb: Any = None
        self._run: Any = None
        self._mode = run.config.tracking.wandb
        if self._mode != "disabled":
            self._guarded(self._start)

    @property
    def url(self) -> str | None:
        """Where the run can be watched; None offline."""
        return getattr(self._run, "url", None) if self._run is not None else None

    @property
    def active(self) -> bool:
        """Whether anything is being sent or written."""
        return self._run is not None

    def sync(self) -> None:
        """Send new rows and summaries; call it after every step and phase."""
        if self._run is not None:
            self._guarded(lambda: self._bounded(self._timeout, self._send_new))

    def finish(self) -> None:
        """Send the rest and end this process' part; the W&B run can be resumed."""
        self.sync()
        if self._run is None:
            return
        run, self._run = self._run, None
        try:
            self._bounded(self._timeout + _GRACE_S, run.finish)
        except Exception as error:
            end_core(self._wandb)
            folder = Path(getattr(run, "dir", self._folder)).parent
            remedy = "rzero-mega sync" if self._mode == "offline" else f"wandb sync --include-online {folder}"
            _log.warning("W&B did not finish (%s) and was ended; `%s` sends what it left", first_line(error), remedy)

    def _start(self) -> None:
        clear_leftovers(self._folder, staged=not unsent_folders(self._directory.path))
        self._sent = _Sent.load(self._folder / SENT)
        with files_below(self._folder):
            self._wandb = importlib.import_module("wandb")
        try:
            self._mode = self._bounded(self._timeout, lambda: _resolve_mode(self._wandb, self._mode))
        except Exception as error:
            self._leave(error)
        if self._mode == "disabled":
            return
        try:
            self._open()
        except Exception as error:
            if self._mode == "offline":
                raise
            self._leave(error)
            self._open()

    def _leave(self, error: Exception) -> None:
        """Online to offline: W&B's process of the failed start still holds the run's id."""
        _log.warning("W&B cannot be reached (%s); going on offline", first_line(error))
        end_core(self._wandb)
        self._run, self._mode = None, "offline"

    def _open(self) -> None:
        self._run = self._bounded(self._timeout + _GRACE_S, lambda: self._init(self._mode))
        if self._mode == "online":
            self._count_arrived()

    def _count_arrived(self) -> None:
        """Take back what W&B never got, by the number of rows that it has."""
        arrived = getattr(self._run, "starting_step", None)
        # Rows in an offline folder that waits for `rzero-mega sync` are not lost.
        if not isinstance(arrived, int) or arrived >= self._sent.rows or unsent_folders(self._directory.path):
            return
        first = self._sent.first(arrived)
        if first is not None:
            _log.info("W&B has %d of %d rows; the others are sent again", arrived, self._sent.rows)
            self._sent = first

    def _init(self, mode: str) -> Any:
        run = self._directory
        settings = self._wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_job_creation=True,
            init_timeout=self._timeout,
        )
        if hasattr(settings, "finish_timeout"):  # W&B 0.26 and newer
            settings.finish_timeout = self._timeout
        active = self._wandb.init(
            project=run.config.tracking.project,
            entity=run.config.tracking.entity,
            id=run.info.wandb_id,
            name=run.path.name,
            group=run.info.recipe,
            tags=tags(run.info, run.config),
            config=asdict(run.config),
            dir=str(run.path),
            resume="allow",
            mode=mode,
            settings=settings,
        )
        for pattern, axis in axes().items():
            active.define_metric(pattern, step_metric=axis)
        return active

    def _send_new(self) -> None:
        offsets = dict.fromkeys(PhaseName, 0)
        for phase in self._directory.phases():
            if phase.path not in self._complete:
                self._send_phase(phase, offsets[phase.phase])
            offsets[phase.phase] += self._complete.get(phase.path, 0)
            if phase.phase is PhaseName.LABELS:
                self._send_audits(phase)

    def _send_audits(self, labels: PhaseDirectory) -> None:
        """A model's audit of the labels, made at any time; one that was done again goes again."""
        for audit in label_audits(self._directory, labels.iteration, labels.manifest()):
            stamp = hashlib.sha256(json.dumps(audit.as_json()).encode()).hexdigest()[:12]
            name = f"{labels.iteration}/audit/{stamp}"
            if name not in self._sent.summaries:
                values = {} if audit.computed else audit_values(labels.iteration, audit)
                rows = [list(row) for row in accuracy_rows(labels.iteration, audit)]
                table = self._wandb.Table(columns=list(ACCURACY_COLUMNS), data=rows)
                self._log({ITERATION: labels.iteration, **values, ACCURACY_TABLE: table}, name)
                self._sent.save(self._folder / SENT)

    def _send_phase(self, phase: PhaseDirectory, offset: int) -> None:
        manifest = phase.manifest()
        rows = phase.metrics()
        rows_before = self._sent.rows
        for row in rows:
            step = offset + row["step"]
            if step > self._sent.steps.get(phase.phase, 0):
                self._log(step_values(phase.phase, row, step, phase.iteration), phase.phase, step)
        if manifest is not None:
            name = f"{phase.iteration}/{phase.phase}"
            if name not in self._sent.summaries:
                self._log({**summary_values(manifest), **self._use(phase), **self._pictures(manifest, phase)}, name)
            self._complete[phase.path] = rows[-1]["step"] if rows else 0
        if self._sent.rows > rows_before:
            # A kill right before this sends the rows again, at the same places of W&B's axis.
            self._sent.save(self._folder / SENT)

    def _log(self, values: Mapping[str, Any], name: str, step: int = 0) -> None:
        """Log a row: the step of a phase, or the summary of that name."""
        # An explicit step keeps W&B's own axis growing over processes, offline ones included.
        self._run.log(dict(values), step=self._sent.rows)
        self._sent.note(name, step)

    def _use(self, phase: PhaseDirectory) -> dict[str, float]:
        """Where the GPU-hours of a finished phase went."""
        found = phase_use(self._directory, phase.iteration, phase.phase)
        return {} if found is None else use_values(found)

    def _pictures(self, manifest: Manifest, phase: PhaseDirectory) -> dict[str, Any]:
        """What is more than a number: the distribution of p̂, questions with their votes, accuracies with intervals."""
        pictures = self._results(manifest)
        bins = histogram(manifest.summary, HISTOGRAM)
        if bins is not None:
            edges, counts = bins
            pictures["labels/p_hat"] = self._wandb.Histogram(np_histogram=(counts, edges))
        questions = sample_questions(phase, self._directory.config.tracking.sample_questions)
        if questions:
            rows = [table_row(manifest.iteration, question) for question in questions]
            pictures[TABLE] = self._wandb.Table(columns=list(TABLE_COLUMNS), data=rows)
        return pictures

    def _results(self, manifest: Manifest) -> dict[str, Any]:
        """Of an evaluation, the table of results, with gains over the base where that was evaluated before."""
        if manifest.phase is not PhaseName.EVALUATE:
            return {}
        results, reason = results_or_reason(self._directory, {0, manifest.iteration})
        if reason is not None:
            _log.warning("W&B gets no table of results: %s", reason)
        if results is None:
            return {}
        from rzero_mega.tracking.results import WANDB_COLUMNS, wandb_rows

        rows = wandb_rows(results, manifest.iteration)
        return {RESULTS: self._wandb.Table(columns=list(WANDB_COLUMNS), data=[list(row) for row in rows])}

    def _bounded(self, seconds: float, action: Callable[[], T]) -> T:
        with files_below(self._folder):
            return within(seconds, action)

    def _guarded(self, action: Callable[[], None]) -> None:
        """What fails online is done again offline; after that, W&B is off."""
        try:
            action()
        except Exception as error:
            if self._mode != "online" or self._run is None:
                self._off(error)
                return
            try:
                self._leave(error)
                self._sent, self._complete = _Sent.load(self._folder / SENT), {}
                self._open()
                self._bounded(self._timeout, self._send_new)
            except Exception as second:
                self._off(second)

    def _off(self, error: Exception) -> None:
        self._run = None
        if self._wandb is not None:
            end_core(self._wandb)
        _log.warning("W&B is off for the rest of this process: %s", first_line(error))


@dataclass
class _Sent:
    """wandb/sent.json: rows logged in all, the last step sent per phase, the summaries sent, and in which order."""

    rows: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    summaries: list[str] = field(default_factory=list)
    order: list[tuple[str, int]] = field(default_factory=list)

    def note(self, name: str, step: int) -> None:
        """One more row was sent: a step of the phase, or with step 0 a summary."""
        self.rows += 1
        self.order.append((str(name), step))
        if step:
            self.steps[name] = step
        else:
            self.summaries.append(name)

    def first(self, rows: int) -> _Sent | None:
        """As it was after so many rows; None where the file is of a time that noted no order."""
        if len(self.order) != self.rows:
            return None
        sent = _Sent()
        for name, step in self.order[:rows]:
            sent.note(name, step)
        return sent

    @classmethod
    def load(cls, path: Path) -> _Sent:
        return cls(**read_json(path)) if path.is_file() else cls()

    def save(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        write_json(path, asdict(self))


def _resolve_mode(wandb: Any, mode: str) -> str:
    """`auto` follows WANDB_MODE; without it, it is online where W&B finds a key (environment or netrc)."""
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE", "online")
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        return "offline"
    return mode if mode in ("online", "offline", "disabled") else "offline"
