"""Rows of JSON-lines files as typed records. What is read is checked: a damaged row is named by file and line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from rzero_mega.atomic import parse_object, read_jsonl
from rzero_mega.errors import UserError

T = TypeVar("T")
R = TypeVar("R", bound="Record")
N = TypeVar("N", int, float)


class Record(Protocol):
    """A dataclass that is a JSON object on disk."""

    def as_json(self) -> dict[str, Any]:
        """The object, its keys in the order in which they are written."""
        ...

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """The record of an object, which may have more keys. KeyError, TypeError or ValueError if it is malformed."""
        ...


def read_records(path: Path, kind: type[R], skip_malformed: bool = False, sha256: str | None = None) -> list[R]:
    """Records of a JSON-lines file. A malformed row is a UserError naming file and line, or passed over on request.

    With `sha256` the file must have that hash, which is taken of the bytes as they are read: UserError otherwise.
    """
    records = []
    for number, row in enumerate(read_jsonl(path, skip_malformed, sha256), start=1):
        try:
            records.append(kind.from_json(row))
        except (KeyError, TypeError, ValueError) as error:
            if skip_malformed:
                continue
            raise UserError(f"{path}: line {number} is malformed: {_reason(error)}; restore or remove it") from None
    return records


def record_of(line: bytes, kind: type[R], where: str, advice: str) -> R:
    """The record of one line; UserError says `where` it is malformed, and what to do."""
    try:
        return kind.from_json(parse_object(line))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} is malformed: {_reason(error)}; {advice}") from None


def record_if_sound(value: object, kind: type[R]) -> R | None:
    """The record of a JSON value that is only shown; None where it is no object, or a malformed one."""
    try:
        return kind.from_json(value) if isinstance(value, Mapping) else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def field(row: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """The value of a key. KeyError if the row lacks it, TypeError if it is not of exactly this type."""
    return typed(row[name], kind, name)


def optional_field(row: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """The value of a key that may be null, and must be there all the same; see `field`."""
    return None if row[name] is None else typed(row[name], kind, name)


def bounded(value: N, name: str, least: float, most: float = 2**63 - 1) -> N:
    """The number itself if it lies between the bounds; ValueError with the name otherwise."""
    if not least <= value <= most:
        raise ValueError(f"{name} is {value:.6g}, which is not between {least:.6g} and {most:.6g}")
    return value


def optional_bounded(row: Mapping[str, Any], name: str, least: float, most: float) -> float | None:
    """The number of a key that may be null, and must be there all the same; see `bounded`."""
    return None if row[name] is None else bounded(float(row[name]), name, least, most)


def typed(value: Any, kind: type[T], name: str) -> T:
    """The value itself if it is of exactly this type (True is no int); TypeError with the name otherwise."""
    if type(value) is not kind:
        raise TypeError(f"{name} is of type {type(value).__name__}, not {kind.__name__}")
    return value


def _reason(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
