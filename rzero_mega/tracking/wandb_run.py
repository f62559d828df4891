"""The run directory mirrored to Weights & Biases: one W&B run per experiment, resumed across phases and processes."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rzero_mega.atomic import read_json, write_json
from rzero_mega.errors import first_line
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, PhaseDirectory, RunDirectory
from rzero_mega.tracking.summaries import flat_numbers, histogram

_TRAINING = (PhaseName.CHALLENGER, PhaseName.SOLVER)
_INIT_TIMEOUT_S = 30.0


class WandbRun:
    """Sends what the run directory holds and W&B has not seen yet.

    The run directory is the truth: `sync` reads rows of metrics.jsonl and manifests' summaries from it, so a run that
    was killed, or whose tracking failed for a while, catches up. What was sent is remembered in wandb/sent.json, so
    steps that are done again after a kill are not sent twice and every axis only grows. Steps of a phase are counted
    across iterations (`challenger/step`); summaries lie on `iteration`. Each process that works offline makes its own
    offline folder with the same run id; `wandb sync` joins them.

    W&B missing or failing never stops a run: it warns once and goes quiet. The key is W&B's business alone.
    """

    def __init__(self, run: RunDirectory) -> None:
        """Start or resume the W&B run; `run` must be open for writing. Mode `disabled` makes all calls do nothing."""
        self._directory = run
        self._sent_path = run.path / "wandb" / "sent.json"
        self._sent = _Sent()
        self._complete: dict[Path, int] = {}
        self._wandb: Any = None
        self._run: Any = None
        if run.config.tracking.wandb != "disabled":
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
            self._guarded(self._send_new)

    def finish(self) -> None:
        """Send the rest and end this process' part; the W&B run can be resumed."""
        self.sync()
        if self._run is not None:
            self._guarded(lambda: self._run.finish())
            self._run = None

    def _start(self) -> None:
        self._sent = _Sent.load(self._sent_path)
        self._wandb = importlib.import_module("wandb")
        mode = _resolve_mode(self._wandb, self._directory.config.tracking.wandb)
        if mode == "disabled":
            return
        try:
            self._run = self._init(mode)
        except Exception as error:
            if mode == "offline":
                raise
            logging.getLogger(__name__).warning("W&B cannot be reached (%s); going on offline", first_line(error))
            self._run = self._init("offline")
        for phase in PhaseName:
            self._run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
        self._run.define_metric("iteration/*", step_metric="iteration")

    def _init(self, mode: str) -> Any:
        run = self._directory
        return self._wandb.init(
            project=run.config.tracking.project,
            entity=run.config.tracking.entity,
            id=run.info.wandb_id,
            name=run.path.name,
            group=run.info.recipe,
            config=asdict(run.config),
            dir=str(run.path),
            resume="allow",
            mode=mode,
            settings=self._wandb.Settings(
                console="off", silent=True, disable_code=True, disable_job_creation=True, init_timeout=_INIT_TIMEOUT_S
            ),
        )

    def _send_new(self) -> None:
        offsets = dict.fromkeys(PhaseName, 0)
        for phase in self._directory.phases():
            if phase.path not in self._complete:
                self._send_phase(phase, offsets[phase.phase])
            offsets[phase.phase] += self._complete.get(phase.path, 0)

    def _send_phase(self, phase: PhaseDirectory, offset: int) -> None:
        manifest = phase.manifest()
        rows = phase.metrics()
        rows_before = self._sent.rows
        for row in rows:
            step = offset + row["step"]
            if step > self._sent.steps.get(phase.phase, 0):
                values = {f"{phase.phase}/{key}": value for key, value in flat_numbers(row) if key != "step"}
                self._log({**values, f"{phase.phase}/step": step, f"{phase.phase}/iteration": phase.iteration})
                self._sent.steps[phase.phase] = step
        if manifest is not None:
            name = f"{phase.iteration}/{phase.phase}"
            if name not in self._sent.summaries:
                self._log({**self._summary(manifest), "iteration": phase.iteration})
                self._sent.summaries.append(name)
            self._complete[phase.path] = rows[-1]["step"] if rows else 0
        if self._sent.rows > rows_before:
            # A kill right before this sends the rows again, at the same places of W&B's axis.
            self._sent.save(self._sent_path)

    def _log(self, values: Mapping[str, Any]) -> None:
        # An explicit step keeps W&B's own axis growing over processes, offline ones included.
        self._run.log(dict(values), step=self._sent.rows)
        self._sent.rows += 1

    def _summary(self, manifest: Manifest) -> dict[str, Any]:
        prefix = f"iteration/{manifest.phase}_" if manifest.phase in _TRAINING else "iteration/"
        names = {"kept": "kept_questions", "labelled": "labelled_questions"}
        plain = {key: value for key, value in manifest.summary.items() if key != "p_hat_histogram"}
        values: dict[str, Any] = {prefix + names.get(key, key): value for key, value in flat_numbers(plain)}
        values[f"iteration/{manifest.phase}_seconds"] = manifest.seconds
        bins = histogram(manifest.summary, "p_hat_histogram")
        if bins is not None:
            edges, counts = bins
            values["iteration/p_hat"] = self._wandb.Histogram(np_histogram=(counts, edges))
        return values

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._run = None
            logging.getLogger(__name__).warning("W&B is off for the rest of this process: %s", first_line(error))


@dataclass
class _Sent:
    """wandb/sent.json: rows logged in all, the last step sent per phase, and the summaries sent."""

    rows: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    summaries: list[str] = field(default_factory=list)

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
