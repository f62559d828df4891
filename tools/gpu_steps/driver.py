"""Runs the lane's steps, each in a process of its own, and keeps what they found in a folder.

Every step's record is written as soon as the step has ended, whole or not at all; a step whose record is there is not
run again. A step writes its outcome into the file that its command gets as last argument.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rzero_mega.atomic import read_json, write_json
from rzero_mega.errors import UserError

_log = logging.getLogger(__name__)

REPORT = "gpu_lane.json"
ENVIRONMENT = "environment.json"
SCHEMA = 1
LONGEST_ERROR = 300
POLL_S = 0.05

Status = Literal["done", "failed", "unavailable"]


@dataclass(frozen=True)
class Step:
    """A command and how long it may take. `command` is called with the outcome's path added."""

    name: str
    what: str
    limit_s: float
    command: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """What became of a step. `error` is one line: why it failed, or what is missing where it is unavailable."""

    name: str
    status: Status
    date: str
    seconds: float
    error: str | None
    figures: dict[str, Any]


@dataclass(frozen=True)
class Lane:
    """Where records lie, and the environment variables and the machine of the steps."""

    folder: Path
    environment: Mapping[str, Any]
    variables: Mapping[str, str]

    def record_path(self, name: str) -> Path:
        """Where a step's record is or will be."""
        return self.folder / "steps" / f"{name}.json"

    def record(self, name: str) -> Record | None:
        """The record of a step, if it was run."""
        path = self.record_path(name)
        if not path.is_file():
            return None
        try:
            return Record(**read_json(path))
        except TypeError:
            raise UserError(f"{path}: not a record of this lane; remove it") from None


def open_lane(folder: Path, environment: Mapping[str, Any], variables: Mapping[str, str]) -> Lane:
    """The folder of a new lane or of one that goes on; UserError if its figures are of another machine."""
    for part in ("steps", "logs"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    path = folder / ENVIRONMENT
    if path.is_file():
        before = read_json(path)
        if before != dict(environment):
            changed = sorted(key for key in {*before, *environment} if before.get(key) != environment.get(key))
            raise UserError(
                f"{folder}: holds figures of another machine or other versions ({', '.join(changed)} differ); "
                "choose another --output"
            )
    else:
        write_json(path, dict(environment))
    return Lane(folder, environment, variables)


def run_steps(lane: Lane, steps: Sequence[Step], budget_s: float, again: Sequence[str] = ()) -> list[Record]:
    """Run the steps that have no record, and those named in `again`; returns all records, in the order of `steps`.

    After `budget_s` seconds the running step is ended and left without a record, as are those after it: the next run
    goes on there.
    """
    deadline = time.monotonic() + budget_s
    for step in steps:
        if lane.record(step.name) is not None and step.name not in again:
            _log.info("%s: there already", step.name)
            continue
        left = deadline - time.monotonic()
        record = None if left <= 0 else _run(lane, step, left)
        if record is None:
            _log.info("%s: no time left; run the same command again to go on from here", step.name)
            break
        write_json(lane.record_path(step.name), asdict(record))
        write_report(lane, steps)
        error = f": {record.error}" if record.error else ""
        _log.info("%s: %s in %.0f s%s", step.name, record.status, record.seconds, error)
    write_report(lane, steps)
    return [record for step in steps if (record := lane.record(step.name)) is not None]


def write_report(lane: Lane, steps: Sequence[Step], wanted: Sequence[Step] | None = None) -> None:
    """Bring all records there are of `steps` together in one file, complete if those `wanted` are (None: all)."""
    records = {step.name: record for step in steps if (record := lane.record(step.name)) is not None}
    report = {
        "schema": SCHEMA,
        "environment": dict(lane.environment),
        "complete": all(step.name in records for step in (steps if wanted is None else wanted)),
        "steps": {name: asdict(record) for name, record in records.items()},
    }
    write_json(lane.folder / REPORT, report)


def _run(lane: Lane, step: Step, left_s: float) -> Record | None:
    """Run one step; None if the lane's time ended before the step's own."""
    outcome, log = lane.folder / "steps" / f".{step.name}.outcome", lane.folder / "logs" / f"{step.name}.log"
    outcome.unlink(missing_ok=True)
    date, start = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    code = _call([*step.command, str(outcome)], lane.variables, log, min(step.limit_s, left_s))
    seconds = round(time.monotonic() - start, 1)
    if code is None and left_s < step.limit_s:
        return None
    status, error, figures = _judge(step, outcome, code, log)
    outcome.unlink(missing_ok=True)
    return Record(step.name, status, date, seconds, error, figures)


def _call(command: Sequence[str], variables: Mapping[str, str], log: Path, limit_s: float) -> int | None:
    """Exit code of a command whose output goes to `log`; None if it was ended after `limit_s` seconds."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            start_new_session=True,
        )
    deadline = time.monotonic() + limit_s
    try:
        while _runs(process.pid) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        ended = not _runs(process.pid)
    finally:
        # What the step started would hold on to the GPU's memory. The process is still there, alive or not, so that the
        # group's number is nobody else's.
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return code if ended else None


def _runs(pid: int) -> bool:
    """Whether a child runs; it is not waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _judge(step: Step, outcome: Path, code: int | None, log: Path) -> tuple[Status, str | None, dict[str, Any]]:
    if code is None:
        return "failed", f"took longer than its {step.limit_s:g} s (log: {log.name})", {}
    if not outcome.is_file():
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return "failed", one_line(f"{end} without an outcome (log: {log.name}): {_last_line(log)}"), {}
    found = read_json(outcome)
    figures = found.get("figures") or {}
    if found.get("unavailable"):
        return "unavailable", one_line(found["unavailable"]), figures
    if found.get("error"):
        return "failed", one_line(found["error"]), figures
    return "done", None, figures


def one_line(text: str) -> str:
    """Text as one printable line of at most LONGEST_ERROR characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_ERROR else line[: LONGEST_ERROR - 1] + "…"


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "no output"
