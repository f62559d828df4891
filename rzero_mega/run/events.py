"""What happened to a run and when: an append-only file of one JSON object per line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rzero_mega.atomic import append_line, read_jsonl


@dataclass(frozen=True)
class Event:
    """One event; `time` is UTC in ISO 8601."""

    time: str
    event: str
    fields: Mapping[str, Any]


def now() -> str:
    """The time of day in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def append_event(path: Path, event: str, **fields: Any) -> None:
    """Append an event. A line that a kill tore is closed first, so that it cannot swallow the new one."""
    append_line(path, {"time": now(), "event": event, **fields})


def read_events(path: Path) -> list[Event]:
    """All events, oldest first; none where there is no file. Torn lines are passed over."""
    if not path.is_file():
        return []
    events = []
    for row in read_jsonl(path, skip_malformed=True):
        time, event = row.pop("time", None), row.pop("event", None)
        if isinstance(time, str) and isinstance(event, str):
            events.append(Event(time, event, row))
    return events
