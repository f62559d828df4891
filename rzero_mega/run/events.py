"""What happened to a run and when: an append-only file of one JSON object per line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rzero_mega.atomic import json_line, read_jsonl, storage_errors


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


def append_line(path: Path, row: Mapping[str, Any]) -> None:
    """Append one JSON line; when the storage refuses, the file is as long as before."""
    line = json_line(path, row)
    with storage_errors(path), open(path, "a+b", buffering=0) as file:
        length = file.seek(0, os.SEEK_END)
        if length and os.pread(file.fileno(), 1, length - 1) != b"\n":
            line = b"\n" + line
        try:
            # Unbuffered: on a full disk the first write may take a part, and the next one raises the reason.
            while line:
                line = line[file.write(line) :]
        except OSError:
            file.truncate(length)
            raise
