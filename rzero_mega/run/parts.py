"""Parts of an unfinished phase: JSON-lines files whose first line says what they are and what follows.

A part counts for one phase of one run with one set of inputs, at one place in the order. Anything else under its name
is an error: it was damaged, or is of another run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.records import R, Record, field, record_of


@dataclass(frozen=True)
class _Header:
    """The first line: whose part this is, its number, and how many bytes of records follow, with their SHA-256."""

    of: str
    part: int
    bytes: int
    sha256: str


def write_part(path: Path, of: str, part: int, records: Iterable[Record]) -> None:
    """Write a part, whole or not at all. `of` names run, phase and inputs."""
    body = b"".join(atomic.json_line(path, record.as_json()) for record in records)
    header = _Header(of, part, len(body), hashlib.sha256(body).hexdigest())
    atomic.write_bytes(path, atomic.json_line(path, asdict(header)) + body)


def read_part(path: Path, of: str, part: int, kind: type[R]) -> list[R]:
    """The records of a part. UserError names the file unless it is this part, unchanged since it was written."""
    lines = check_part(path, of, part).splitlines(keepends=True)
    advice = f"remove {path} to have this part done again"
    return [record_of(line, kind, f"{path}: line {number}", advice) for number, line in enumerate(lines, start=2)]


def check_part(path: Path, of: str, part: int) -> bytes:
    """What follows the header of the part; UserError as `read_part`."""
    with atomic.storage_errors(path):
        first, _, body = path.read_bytes().partition(b"\n")
    reason = _wrong(first, body, of, part)
    if reason is not None:
        raise UserError(f"{path}: {reason}; remove it to have this part done again")
    return body


def _wrong(first: bytes, body: bytes, of: str, part: int) -> str | None:
    try:
        row = json.loads(first)
        header = _Header(
            field(row, "of", str), field(row, "part", int), field(row, "bytes", int), field(row, "sha256", str)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return "does not say what it is: it is damaged, or another version wrote it"
    if header.of != of:
        return "is a part of another run or phase, or was made from other inputs"
    if header.part != part:
        return f"is part {header.part} under another name"
    if (len(body), hashlib.sha256(body).hexdigest()) != (header.bytes, header.sha256):
        return "has changed since it was written"
    return None
