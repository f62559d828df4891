"""Where the GPU-hours of a run went, phase by phase: of its timeline alone, so far as that goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from rzero_mega.activity import Activity
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.run.timeline import DRAWING, FILE, Devices, Drawn, Span, phase_spans, read_timeline
from rzero_mega.tracking.intervals import Interval, clipped, length, union, without
from rzero_mega.tracking.summaries import mean, scalar

START, PARKING, CHECKPOINT, VERIFICATION, SYNC = "start", "parking", "checkpoint", "verification", "sync"
# What is done inside of something else counts as what stands first here.
_SPENT: dict[str, tuple[Activity, ...]] = {
    START: (Activity.START_SERVERS, Activity.START_LEARNER),
    PARKING: (Activity.PARK,),
    CHECKPOINT: (Activity.CHECKPOINT, Activity.FINISH_CHECKPOINT, Activity.WRITE_MODEL),
    VERIFICATION: (Activity.VERIFY, Activity.PROBE),
    SYNC: (Activity.UPDATE, Activity.SEND),
}
# Sending holds the hashing of what is sent and the servers' comparison; its count says how long that took.
_VERIFY_SECONDS = "verify_seconds"
# Past these a line of the timeline is damaged.
_MOST_GPUS, _MOST_SECONDS = 1 << 16, 1e9


@dataclass(frozen=True)
class ServerUse:
    """A server in a phase: the time that it was at work, and what it did then. `slots_used` is a share."""

    name: str
    gpus: tuple[str, ...]
    seconds: float
    draws: int
    tokens: int
    slots_used: float

    @property
    def tokens_per_second(self) -> float:
        """While it was at work."""
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class PhaseUse:
    """A phase of an iteration, all attempts at it together. Shares are between 0 and 1, None where nothing tells them.

    A GPU is idle while no server on it has draws and the learner, if it has a rank there, does not train; there are
    none on CPUs (`gpu_seconds` 0) and no idle ones under the embedded engine, whose work is not told apart. `spent` has
    seconds of the first rank by START, SYNC, ... . GPUs are called "0/3": the node, and its GPU.
    """

    iteration: int
    phase: PhaseName
    seconds: float
    gpu_seconds: float
    idle_by_gpu: Mapping[str, float]
    servers: tuple[ServerUse, ...]
    spent: Mapping[str, float]
    mfu: float | None = None

    @property
    def idle(self) -> float | None:
        """Mean over the GPUs."""
        return mean(self.idle_by_gpu.values())

    @property
    def slots_used(self) -> float | None:
        """Of a server at work."""
        at_work = sum(server.seconds for server in self.servers)
        return sum(server.slots_used * server.seconds for server in self.servers) / at_work if at_work else None

    @property
    def server_tokens_per_second(self) -> float | None:
        """Of a server at work."""
        at_work = sum(server.seconds for server in self.servers)
        return sum(server.tokens for server in self.servers) / at_work if at_work else None


def run_use(run: RunDirectory) -> list[PhaseUse]:
    """Every phase that the run's timeline knows, the one under way too, in the order of the run."""
    return [_with_mfu(run, use) for use in timeline_uses(run)]


def timeline_uses(run: RunDirectory) -> list[PhaseUse]:
    """As `run_use`, but for what the timeline does not know."""
    return phase_uses(read_timeline(run.path / FILE))


def phase_use(
    run: RunDirectory, iteration: int, phase: PhaseName, uses: Sequence[PhaseUse] | None = None
) -> PhaseUse | None:
    """One phase's; None where the timeline doesn't know it. `uses` are the timeline's, where they are known."""
    if uses is None:
        uses = timeline_uses(run)
    return next((_with_mfu(run, use) for use in uses if (use.iteration, use.phase) == (iteration, phase)), None)


def of_last_iteration(uses: Sequence[PhaseUse]) -> list[PhaseUse]:
    """Those of the last iteration that there is."""
    return [use for use in uses if use.iteration == uses[-1].iteration]


def phase_uses(spans: Sequence[Span]) -> list[PhaseUse]:
    """What spans tell of every phase, in the order of the run."""
    attempts: dict[tuple[int, PhaseName], list[Span]] = defaultdict(list)
    for span in phase_spans(spans):
        key = _phase(span)
        if key is not None and 0 < span.seconds < _MOST_SECONDS:
            attempts[key].append(span)
    order = list(PhaseName)
    found = sorted(attempts.items(), key=lambda item: (item[0][0], order.index(item[0][1])))
    return [_use(iteration, phase, of_phase, spans) for (iteration, phase), of_phase in found]


def _use(iteration: int, phase: PhaseName, attempts: Sequence[Span], spans: Sequence[Span]) -> PhaseUse:
    windows = union((attempt.began, attempt.end) for attempt in attempts)
    inside = [span for span in spans if any(start <= span.began < end for start, end in windows)]
    drawing = [(span, drawn) for span in inside if span.name == DRAWING and (drawn := Drawn.of(span)) is not None]
    devices = Devices.of(attempts[-1])
    gpus = 0.0 if devices is None or not 0 < devices.gpus <= _MOST_GPUS else devices.gpus
    training = union((span.began, span.end) for span in inside if span.name == Activity.TRAIN)
    idle = _idle(devices, windows, drawing, training) if devices is not None and gpus and drawing else {}
    seconds = length(windows)
    return PhaseUse(iteration, phase, seconds, gpus * seconds, idle, _servers(drawing), _spent(inside, windows))


def _idle(
    devices: Devices, windows: Sequence[Interval], drawing: Iterable[tuple[Span, Drawn]], training: Sequence[Interval]
) -> dict[str, float]:
    per_node = max(1, int(devices.gpus_per_node))
    busy: dict[str, list[Interval]] = {}
    for gpu in range(int(devices.gpus)):
        busy[f"{gpu // per_node}/{gpu % per_node}"] = list(training) if gpu < devices.learner else []
    for span, drawn in drawing:
        for name in _gpus_of(drawn):
            if name in busy:
                busy[name].append((span.began, span.end))
    whole = length(windows)
    return {gpu: _share_left(union(times), windows, whole) for gpu, times in busy.items()}


def _share_left(busy: Sequence[Interval], windows: Sequence[Interval], whole: float) -> float:
    return 1 - sum(length(clipped(busy, window)) for window in windows) / whole


def _gpus_of(drawn: Drawn) -> tuple[str, ...]:
    first, count = int(drawn.first_gpu), int(min(drawn.gpus, _MOST_GPUS))
    return tuple(f"{int(drawn.node)}/{gpu}" for gpu in range(first, first + count))


def _servers(drawing: Sequence[tuple[Span, Drawn]]) -> tuple[ServerUse, ...]:
    by_name: dict[str, list[tuple[Span, Drawn]]] = defaultdict(list)
    for span, drawn in drawing:
        by_name[span.track].append((span, drawn))
    return tuple(_server(name, found) for name, found in sorted(by_name.items(), key=_by_number))


def _by_number(item: tuple[str, object]) -> tuple[str, int]:
    """solver-2 before solver-10."""
    role, _, number = item[0].rpartition("-")
    return role, int(number) if number.isdecimal() else 0


def _server(name: str, found: Sequence[tuple[Span, Drawn]]) -> ServerUse:
    had = sum(drawn.slots * span.seconds for span, drawn in found)
    return ServerUse(
        name,
        _gpus_of(found[-1][1]),
        sum(span.seconds for span, _ in found),
        int(sum(drawn.draws for _, drawn in found)),
        int(sum(drawn.tokens for _, drawn in found)),
        sum(drawn.slot_seconds for _, drawn in found) / had if had else 0.0,
    )


def _spent(spans: Sequence[Span], windows: Sequence[Interval]) -> dict[str, float]:
    counted: list[Interval] = []
    spent = {}
    for name, activities in _SPENT.items():
        times = union((span.began, span.end) for span in spans if span.name in activities)
        times = [piece for window in windows for piece in clipped(without(times, counted), window)]
        spent[name] = length(times)
        counted = union([*counted, *times])
    told = sum(span.counts.get(_VERIFY_SECONDS, 0.0) for span in spans if span.name == Activity.SEND)
    verified = min(max(0.0, told), spent[SYNC])
    spent[SYNC] -= verified
    spent[VERIFICATION] += verified
    return spent


def _phase(span: Span) -> tuple[int, PhaseName] | None:
    name, _, iteration = span.name.partition(" ")
    known = name in list(PhaseName) and iteration.isdecimal() and len(iteration) < 10
    return (int(iteration), PhaseName(name)) if known else None


def _with_mfu(run: RunDirectory, use: PhaseUse) -> PhaseUse:
    """Its mean over the steps that are logged."""
    return replace(use, mfu=mean(scalar(row, "mfu") for row in run.phase(use.iteration, use.phase).metrics()))
