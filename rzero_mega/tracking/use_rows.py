"""Where the GPU-hours went, as rows of tables, for W&B and as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rzero_mega.tracking.gpu_hours import CHECKPOINT, PARKING, START, SYNC, VERIFICATION, PhaseUse, ServerUse
from rzero_mega.tracking.summaries import NOTHING, duration, percent

SPENT = (START, SYNC, VERIFICATION, CHECKPOINT, PARKING)
"""In the order of columns."""
NOTE = "slots, tok/s: of a server at work; start to park: seconds"
# Shares of idle time, or rates as a share of the greatest, that are no further apart are told as a mean alone.
_APART = 0.1


@dataclass(frozen=True)
class Column:
    """A figure of a phase: its heading where there is room, and in a terminal; None where it isn't known."""

    heading: str
    short: str
    value: Callable[[PhaseUse], float | None]
    text: Callable[[float], str]

    def cell(self, use: PhaseUse, text: Callable[[float], str] | None = None) -> str:
        """What it says of the phase."""
        value = self.value(use)
        return NOTHING if value is None else (text or self.text)(value)


def _whole(value: float) -> str:
    return f"{value:.0f}"


def _share(value: float) -> str:
    return percent(value, 0)


def _hours(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def _of_gpus(use: PhaseUse) -> float | None:
    return use.gpu_seconds / 3600 if use.gpu_seconds else None


def _seconds_of(name: str) -> Callable[[PhaseUse], float | None]:
    return lambda use: use.spent[name] or None


SECONDS = Column("time", "s", lambda use: use.seconds, _whole)
GPU_HOURS = Column("GPU-hours", "GPU-h", _of_gpus, _hours)
RATES = (
    Column("idle", "idle", lambda use: use.idle, _share),
    Column("slots in use", "slots", lambda use: use.slots_used, _share),
    Column("tokens/s per server", "tok/s", lambda use: use.server_tokens_per_second, _whole),
    Column("learner MFU", "MFU", lambda use: use.mfu, _share),
)
_SHORT = {VERIFICATION: "verify", CHECKPOINT: "ckpt", PARKING: "park"}
COSTS = tuple(Column(name, _SHORT.get(name, name), _seconds_of(name), _whole) for name in SPENT)


def use_title(uses: Sequence[PhaseUse]) -> str:
    """Of an iteration's phases together: for instance "iteration 2: where 11.2 GPU-hours went, 38 % of them idle"."""
    iteration = f"iteration {uses[-1].iteration}" if uses[-1].iteration else "base"
    hours = sum(use.gpu_seconds for use in uses) / 3600
    if not hours:
        return f"{iteration}: where {duration(sum(use.seconds for use in uses))} went"
    known = [(use.idle, use.gpu_seconds) for use in uses if use.idle is not None]
    idle = sum(share * seconds for share, seconds in known) / sum(seconds for _, seconds in known) if known else None
    of_them = "" if idle is None else f", {_share(idle)} of them idle"
    return f"{iteration}: where {_hours(hours)} GPU-hours went{of_them}"


def short_table(uses: Sequence[PhaseUse]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows for a terminal of 80 columns; figures that no phase has are left out."""
    size = GPU_HOURS if any(use.gpu_seconds for use in uses) else SECONDS
    known = _known([size, *RATES, *COSTS], uses)
    rows = [[str(use.phase), *(column.cell(use) for column in known)] for use in uses]
    return ["phase", *(column.short for column in known)], rows


def long_table(uses: Sequence[PhaseUse]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """As `short_table`, of several iterations, with durations in words."""
    known = _known([SECONDS, GPU_HOURS, *RATES, *COSTS], uses)
    in_words = {SECONDS, *COSTS}
    rows = [
        (_name(use), *(column.cell(use, duration if column in in_words else None) for column in known)) for use in uses
    ]
    return ("phase", *(column.heading for column in known)), tuple(rows)


def idle_table(uses: Sequence[PhaseUse]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Idle share of every GPU by phase, with the servers that it had."""
    gpus = list(dict.fromkeys(gpu for use in uses for gpu in use.idle_by_gpu))
    rows = []
    for gpu in gpus:
        servers = dict.fromkeys(server.name for use in uses for server in use.servers if gpu in server.gpus)
        shares = (percent(use.idle_by_gpu[gpu], 0) if gpu in use.idle_by_gpu else NOTHING for use in uses)
        rows.append((_place(gpu), ", ".join(servers) or NOTHING, *shares))
    return ("idle", "servers", *(_name(use) for use in uses)), tuple(rows)


def servers_table(uses: Sequence[PhaseUse]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Tokens per second of every server at work, by phase, and the share of its slots in use."""
    names = list(dict.fromkeys(server.name for use in uses for server in use.servers))
    by_name = [{server.name: server for server in use.servers} for use in uses]
    rows = []
    for name in names:
        found = (servers.get(name) for servers in by_name)
        cells = (f"{_whole(s.tokens_per_second)} ({percent(s.slots_used, 0)})" if s else NOTHING for s in found)
        rows.append((name, *cells))
    return ("tokens/s (slots in use)", *(_name(use) for use in uses)), tuple(rows)


def uneven_lines(uses: Iterable[PhaseUse]) -> list[str]:
    """For the terminal: the ends of what a mean hides, of phases whose GPUs or whose servers of a role are unlike."""
    told = ((use, [*_uneven_idle(use), *_uneven_rates(use)]) for use in uses)
    return [f"{use.phase}: {'; '.join(parts)}" for use, parts in told if parts]


def _uneven_idle(use: PhaseUse) -> Iterator[str]:
    shares = sorted((share, number, gpu) for number, (gpu, share) in enumerate(use.idle_by_gpu.items()))
    if shares and shares[-1][0] - shares[0][0] > _APART:
        ends = (f"{_share(share)} ({_place(gpu)})" for share, _, gpu in (shares[0], shares[-1]))
        yield f"idle from {' to '.join(ends)}"


def _uneven_rates(use: PhaseUse) -> Iterator[str]:
    by_role: dict[str, list[ServerUse]] = defaultdict(list)
    for server in use.servers:
        by_role[server.name.rpartition("-")[0]].append(server)
    for servers in by_role.values():
        slowest = min(servers, key=lambda server: server.tokens_per_second)
        fastest = max(servers, key=lambda server: server.tokens_per_second)
        if slowest.tokens_per_second < (1 - _APART) * fastest.tokens_per_second:
            ends = (f"{_whole(server.tokens_per_second)} ({server.name})" for server in (slowest, fastest))
            yield f"tokens/s from {' to '.join(ends)}"


def remark(uses: Sequence[PhaseUse]) -> str | None:
    """Why figures are missing; None where none is."""
    if not any(use.gpu_seconds for use in uses):
        return "no GPUs: neither idle share nor MFU is told"
    if not any(use.servers for use in uses):
        return "idle share is told where servers draw (rollout.engine=sglang)"
    if all(use.mfu is None for use in uses):
        return "no MFU: it takes steps in bf16 or FP8 on a GPU that `rzero-mega plan` knows"
    return None


def use_values(use: PhaseUse) -> dict[str, float]:
    """For W&B, by name; what is not known, or took no time, is left out."""
    values = {
        "gpu_hours": _of_gpus(use),
        "idle": use.idle,
        "most_idle_gpu": max(use.idle_by_gpu.values(), default=None),
        "slots_used": use.slots_used,
        "server_tokens_per_second": use.server_tokens_per_second,
        "slowest_server_tokens_per_second": min((s.tokens_per_second for s in use.servers), default=None),
        "mfu": use.mfu,
        **{f"{column.heading}_seconds": column.value(use) for column in COSTS},
    }
    return {f"gpus/{use.phase}/{name}": value for name, value in values.items() if value is not None}


def as_json(uses: Iterable[PhaseUse]) -> list[dict[str, Any]]:
    """What `status --json` prints."""
    return [
        {
            **asdict(use),
            "idle": use.idle,
            "slots_used": use.slots_used,
            "server_tokens_per_second": use.server_tokens_per_second,
        }
        for use in uses
    ]


def _known(columns: Iterable[Column], uses: Sequence[PhaseUse]) -> list[Column]:
    """The columns of figures that any phase has."""
    return [column for column in columns if any(column.value(use) for use in uses)]


def _place(gpu: str) -> str:
    return f"node {gpu.replace('/', ', GPU ')}"


def _name(use: PhaseUse) -> str:
    return f"{use.iteration}, {use.phase}" if use.iteration else f"base, {use.phase}"
