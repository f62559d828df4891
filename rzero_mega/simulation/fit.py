"""Assumptions fitted to a run of one's own: its metrics, manifests, events, and its servers' logs.

Logs and files may be torn, or of another version: what can't be read is passed over, and what is left says from how
many observations a number comes. Where there are too few the number stays as it was.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import isfinite
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rzero_mega.activity import BEGUN, Activity
from rzero_mega.config.schema import Config, TrainingConfig
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.planning.assumptions import Assumptions
from rzero_mega.planning.hardware import Gpu
from rzero_mega.planning.models import model_named
from rzero_mega.planning.servers import DecodeStep
from rzero_mega.run import RunDirectory
from rzero_mega.run.events import read_events
from rzero_mega.run.timeline import FILE as TIMELINE
from rzero_mega.run.timeline import read_timeline
from rzero_mega.simulation import costs
from rzero_mega.simulation.drawing import Lengths
from rzero_mega.simulation.iteration import train_seconds
from rzero_mega.simulation.sending import sending
from rzero_mega.simulation.site import Site

# Observations below which a decode step's line is not drawn.
FEWEST_LINES = 8
# Bytes of a server's log that are looked at.
MOST_BYTES = 256 << 20
_DECODE = re.compile(r"Decode batch.*?#running-req: (\d+), #token: (\d+),.*?gen throughput \(token/s\): ([0-9.]+)")
_AFTER_NOTHING = re.compile(r"Prefill batch.*?#running-req: 0\b")
_TIME = re.compile(r"\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")
_READY = "The server is fired up"


@dataclass(frozen=True)
class Fitted:
    """Numbers that a run gave: `values` by key, from so many `observations`."""

    what: str
    values: dict[str, float]
    observations: int

    def __str__(self) -> str:
        """For instance "decode steps: decoding.fixed_s 0.0021 (412 observations)"."""
        said = ", ".join(f"{key} {value:.4g}" for key, value in self.values.items())
        return f"{self.what}: {said} ({self.observations} observations)"


@dataclass(frozen=True)
class Fit:
    """Assumptions with what was fitted, and the keys that are as they were."""

    assumptions: Assumptions
    fitted: tuple[Fitted, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """Keys that are not of the run."""
        known = {key for item in self.fitted for key in item.values}
        return tuple(key for key in self.assumptions.sources if key not in known)


@dataclass(frozen=True)
class _Run:
    """A run, and what is assumed so far."""

    path: Path
    config: Config
    directory: RunDirectory
    gpu: Gpu
    assumptions: Assumptions

    def rows(self, phase: PhaseName, key: str) -> list[float]:
        """A number of all steps of a phase, over all iterations."""
        found = []
        for directory in self.directory.phases():
            if directory.phase is phase:
                found += [value for row in directory.metrics() if (value := _number(row.get(key))) is not None]
        return found

    @cached_property
    def site(self) -> Site | None:
        """The run on the GPUs in question, if its servers are SGLang's."""
        return Site(self.config, self.gpu, self.assumptions) if self.config.rollout.engine == "sglang" else None


def fit(path: Path, gpu: Gpu, assumed: Assumptions) -> Fit:
    """What a run says; UserError names the folder if it is none, or if nothing can be fitted to it."""
    directory = RunDirectory.open_existing(path)
    fitted = list[Fitted]()
    for look in _LOOKS:
        found = look(_Run(path, directory.config, directory, gpu, assumed))
        for item in found:
            assumed = assumed.with_values(item.values, f"{path}, {item.observations} observations")
        fitted += found
    if not fitted:
        raise UserError(f"{path}: holds nothing that assumptions can be fitted to: no finished step, no server's log")
    return Fit(assumed, tuple(fitted))


def seconds_taken(directory: RunDirectory) -> dict[PhaseName, float]:
    """What each phase took that is finished, on average over the iterations after the base's evaluation."""
    seconds: dict[PhaseName, list[float]] = {}
    for phase in directory.phases():
        manifest = phase.manifest() if phase.iteration else None
        if manifest is not None:
            seconds.setdefault(phase.phase, []).append(manifest.seconds)
    return {phase: fmean(taken) for phase, taken in seconds.items()}


def _decode(run: _Run) -> list[Fitted]:
    """A step's time in excess of the roofline, as a line over the draws that run at a time."""
    tp = run.config.rollout.sglang.tp
    width = 4 if run.config.rollout.dtype == "float32" else 2
    none = run.assumptions.with_values({"decoding.fixed_s": 0.0, "decoding.per_sequence_s": 0.0}, "").decoding
    roofline = DecodeStep(model_named(run.config.model.path), run.gpu, tp, width, none)
    seen = [
        (running, running / rate - roofline.seconds(running, cached))
        for log in _server_logs(run.path)
        for running, cached, rate in _decode_lines(log)
    ]
    if len(seen) < FEWEST_LINES:
        return []
    fixed, per_sequence = _line(seen)
    values = {"decoding.fixed_s": fixed, "decoding.per_sequence_s": per_sequence}
    loads = [running for running, _ in seen]
    return [Fitted(f"decode steps of {min(loads):g} to {max(loads):g} draws", values, len(seen))]


def _line(seen: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(at nothing, slope) of least squares, neither below 0."""
    mean_x, mean_y = fmean(x for x, _ in seen), fmean(y for _, y in seen)
    spread = sum((x - mean_x) ** 2 for x, _ in seen)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in seen) / spread if spread else 0.0
    slope = min(max(0.0, slope), max(0.0, mean_y) / mean_x)
    return max(0.0, mean_y - slope * mean_x), slope


def _servers_start(run: _Run) -> list[Fitted]:
    """From a server's first line to the one that says that it is ready, without reading the model."""
    if run.site is None:
        return []
    seconds = [found for log in _server_logs(run.path) if (found := _until_ready(log)) is not None]
    reading = run.site.weight_bytes / run.assumptions.costs.model_read_bytes_s
    return _median("servers' start", "costs.server_start_s", [max(0.0, value - reading) for value in seconds])


def _learner_start(run: _Run) -> list[Fitted]:
    """Of the run's timeline, without reading the model."""
    site = _learner_site(run)
    reading = site.weight_bytes / run.assumptions.costs.model_read_bytes_s
    spans = read_timeline(run.path / TIMELINE)
    seconds = [max(0.0, span.seconds - reading) for span in spans if span.name == Activity.START_LEARNER]
    return _median("the learner's start", "costs.learner_start_s", seconds)


def _lengths(run: _Run) -> list[Fitted]:
    found = []
    for phase, training in (
        (PhaseName.CHALLENGER, run.config.challenger.training),
        (PhaseName.SOLVER, run.config.solver.training),
    ):
        means, cut = run.rows(phase, "response_length"), run.rows(phase, "truncated_rate")
        limit = training.sampling.max_new_tokens
        share = min(fmean(cut), 1.0) if cut else 0.0
        if not means or share >= 1 or not 0 < fmean(means) < limit:
            continue
        sigma = getattr(run.assumptions.responses, f"{phase}_sigma")
        ended = (fmean(means) - share * limit) / (1 - share)
        values = {
            f"responses.{phase}_median": _median_of(max(1.0, ended), sigma, limit),
            f"responses.{phase}_cut_off": share,
        }
        found.append(Fitted(f"the {phase}'s responses", values, len(means)))
    return found


def _median_of(mean: float, sigma: float, limit: int) -> float:
    """The median of log-normal lengths that are `mean` tokens on average, cut off at the limit."""
    low, high = 1e-3, float(limit)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if Lengths(middle, sigma, 0.0).mean(limit) < mean else (low, middle)
    return high


def _well_formed(run: _Run) -> list[Fitted]:
    rates = run.rows(PhaseName.CHALLENGER, "well_formed_rate")
    if not rates:
        return []
    return [Fitted("well-formed questions", {"responses.well_formed_share": min(1.0, fmean(rates))}, len(rates))]


def _training(run: _Run) -> list[Fitted]:
    """What steps took over what is modelled for this run's learner on the GPUs in question."""
    site, factors = _learner_site(run), list[float]()
    for phase, training, prompt in _trainings(run):
        for seconds, length in _pairs(run, phase, "train_seconds", "response_length"):
            modelled = train_seconds(site, training, prompt + length) / site.assumptions.costs.train_factor
            factors.append(seconds / modelled)
    return _median("a step's training over what is modelled", "costs.train_factor", factors)


def _rewards(run: _Run) -> list[Fitted]:
    """On average: the model has one number for all roles, whose rewards take unlike times."""
    seconds = [value for phase, _, _ in _trainings(run) for value in run.rows(phase, "reward_seconds")]
    return [Fitted("a step's rewards", {"costs.reward_step_s": fmean(seconds)}, len(seconds))] if seconds else []


def _updates(run: _Run) -> list[Fitted]:
    """An update with the hashes of its tensors, over what is modelled; and the probes."""
    site, fitted = run.site, list[Fitted]()
    phases = [phase for phase, _, _ in _trainings(run)]
    seconds = [value for phase in phases for value in run.rows(phase, "update_seconds")]
    if site is None:
        return []
    if seconds and median(seconds) > 0:
        factor, old = median(seconds) / (costs.send(site) + costs.hashing(site, 1)), run.assumptions.costs
        rates = sorted({link.rate for link in sending(site).links})
        if run.config.weights.verify.checksums_every:
            rates.append("gpu_hash_bytes_s")
        values = {f"costs.{name}": getattr(old, name) / factor for name in rates}
        values["costs.send_fixed_s"] = old.send_fixed_s * factor
        fitted.append(Fitted(f"updates, {median(seconds):.3g} s each", values, len(seconds)))
    probes = [value for phase in phases for value in run.rows(phase, "probe_seconds")]
    return [*fitted, *_median("probes", "costs.probe_s", probes)]


def _checkpoints(run: _Run) -> list[Fitted]:
    """What a step waits for its checkpoint, of the run's timeline; a span without the count has one."""
    spans = read_timeline(run.path / TIMELINE)
    waited = [span.seconds for span in spans if span.name == Activity.CHECKPOINT and span.counts.get(BEGUN, 1.0)]
    if not waited:
        return []
    held = costs.CHECKPOINT_BYTES * _learner_site(run).trained / run.config.learner.processes
    passes = median(waited) * run.assumptions.costs.checkpoint_copy_bytes_s / held
    return [Fitted(f"checkpoints, {median(waited):.3g} s each", {"costs.checkpoint_passes": passes}, len(waited))]


def _job_start(run: _Run) -> list[Fitted]:
    """From a phase's end to the next one's start, where that is in another job, which opens the run anew."""
    gaps, ended, anew = list[float](), None, False
    for event in read_events(run.directory.events_path):
        if event.event == "phase_finished":
            ended, anew = event.time, False
        elif event.event == "resumed":
            anew = True
        elif event.event == "phase_started" and ended is not None:
            gap = _seconds_between(ended, event.time, "%Y-%m-%dT%H:%M:%S%z") if anew else None
            gaps += [] if gap is None else [gap]
            ended = None
    return _median("jobs' start", "costs.job_start_s", gaps) if (run.path / "jobs").is_dir() else []


_LOOKS = (
    _decode,
    _servers_start,
    _learner_start,
    _lengths,
    _well_formed,
    _training,
    _rewards,
    _updates,
    _checkpoints,
    _job_start,
)


def _median(what: str, key: str, values: Sequence[float]) -> list[Fitted]:
    return [Fitted(what, {key: median(values)}, len(values))] if values else []


def _trainings(run: _Run) -> Iterator[tuple[PhaseName, TrainingConfig, float]]:
    """(phase, its training, tokens of its prompt)."""
    responses = run.assumptions.responses
    yield PhaseName.CHALLENGER, run.config.challenger.training, responses.challenger_prompt
    # The model takes a Verifier to be asked and to answer at the Solver's length.
    yield PhaseName.VERIFIER, run.config.verifier.training, responses.solver_prompt
    yield PhaseName.SOLVER, run.config.solver.training, responses.solver_prompt


def _learner_site(run: _Run) -> Site:
    """The run's learner; where its engine is embedded, as if servers drew for it."""
    return run.site or Site.of_learner(run.config, run.gpu, run.assumptions)


def _pairs(run: _Run, phase: PhaseName, *keys: str) -> list[tuple[float, ...]]:
    found = []
    for directory in run.directory.phases():
        for row in directory.metrics() if directory.phase is phase else ():
            values = [_number(row.get(key)) for key in keys]
            if all(value is not None and value > 0 for value in values):
                found.append(tuple(value for value in values if value is not None))
    return found


def _server_logs(run: Path) -> list[Path]:
    """Those of the run's servers, on this node and on others."""
    logs = [path for folder in ("servers", "jobs") for path in sorted((run / folder).rglob("*.log"))]
    return [path for path in logs if path.name.startswith(("challenger-", "solver-")) and path.is_file()]


def _decode_lines(log: Path) -> Iterator[tuple[float, int, float]]:
    """(draws running, tokens cached, tokens per second) between two lines that tell of decode batches.

    A line's rate is that since the line before: so the draws are the mean of both lines', and of a time in which the
    server had nothing to do, as before a prefill with none running, nothing is said.
    """
    before: int | None = None
    for line in _lines(log):
        if _AFTER_NOTHING.search(line):
            before = None
        match = _DECODE.search(line)
        if match is None or not 0 < int(match[1]) < 1 << 20:
            continue
        running, rate = int(match[1]), _number(_float(match[3]))
        if before is not None and rate:
            yield (before + running) / 2, min(int(match[2]), 1 << 40), rate
        before = running


def _until_ready(log: Path) -> float | None:
    """Seconds from the first time of the last start in the log to the line that says that the server is ready."""
    first, found = None, None
    for line in _lines(log):
        match = _TIME.match(line)
        if match is None:
            continue
        first = first or match[1]
        if _READY in line:
            found, first = _seconds_between(first, match[1], "%Y-%m-%d %H:%M:%S"), None
            break
    return found


def _lines(log: Path) -> Iterator[str]:
    left = MOST_BYTES
    with log.open("rb") as file:
        while left > 0 and (line := file.readline(1 << 16)):
            left -= len(line)
            yield line.decode(errors="replace")


def _seconds_between(before: str, after: str, form: str) -> float | None:
    try:
        return max(0.0, (datetime.strptime(after, form) - datetime.strptime(before, form)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    """A finite number that is not negative, or nothing."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and 0 <= value < 1e12
    return float(value) if good else None
