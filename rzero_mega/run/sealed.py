"""JSON files that notice a change: each holds a hash of its own content.

A file without one is read as it is: an earlier version wrote it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rzero_mega import atomic
from rzero_mega.errors import UserError

SEAL = "sha256"
"""The key that holds the hash of all others."""


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write an object, and in it the hash of what it holds; see `atomic.write_json`."""
    atomic.write_json(path, {**value, SEAL: seal_of(value)})


def read_sealed(path: Path, advice: str) -> dict[str, Any]:
    """The object without its seal. UserError if the file is no object or has changed; `advice` says what to do then."""
    data = atomic.read_json(path)
    if not isinstance(data, dict):
        raise UserError(f"{path}: malformed: not a JSON object; {advice}")
    seal = data.pop(SEAL, None)
    if seal is not None and seal != seal_of(data):
        raise UserError(f"{path}: malformed: has changed since it was written; {advice}")
    return data


def seal_of(value: Mapping[str, Any]) -> str:
    """The hash of what an object holds."""
    # What is written need not be what is read: keys become text, tuples lists.
    as_read = json.loads(json.dumps(value))
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()
