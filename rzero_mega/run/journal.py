"""What an unfinished phase has so far, row by row: a file that grows, every row with its hash.

The first line says whose it is. A row that a kill tore, or that has changed since, is as good as never written: what it
held is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.run.sealed import SEAL, seal_of

FILE = "journal.jsonl"
_OF, _WORK = "of", "work"


class Journal:
    """One journal. `of` names run, phase and inputs, or whatever else it belongs to."""

    def __init__(self, path: Path, of: str, before_write: Callable[[], None] = lambda: None) -> None:
        """`before_write` is called before every write, which its error prevents. Nothing is written yet."""
        self.path, self._of, self._before_write = path, of, before_write
        self._begun = False

    def rows(self) -> list[dict[str, Any]]:
        """The rows, in the order in which they were appended. UserError if they belong to something else."""
        header, rows = _read(self.path)
        if header is not None and header.get(_OF) != self._of:
            raise UserError(
                f"{self.path}: is of another run or phase, or was made from other inputs; remove it to start afresh"
            )
        return rows

    def append(self, row: Mapping[str, Any], work: int, of: int) -> None:
        """A row, which stands for so much of the work, of so much in all."""
        self._before_write()
        if not self._begun and _read(self.path)[0] is None:
            self.path.unlink(missing_ok=True)  # a kill may have torn the first line
            atomic.append_line(self.path, _sealed({_OF: self._of, _WORK: of}))
        self._begun = True
        atomic.append_line(self.path, _sealed({**row, _WORK: work}))


def percent_done(path: Path) -> int:
    """How much of the work a journal holds: 0 where there is none, and 1 at least where there is any."""
    header, rows = _read(path)
    if header is None or not rows:
        return 0
    done = sum(row[_WORK] for row in rows if type(row.get(_WORK)) is int)
    whole = header.get(_WORK)
    return min(100, max(1, 100 * done // whole)) if type(whole) is int and whole > 0 else 1


def _read(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The first line and the others, as far as they are whole; None without a first line that is."""
    if not path.is_file():
        return None, []
    header, rows = None, []
    for row in atomic.read_jsonl(path, skip_malformed=True):
        if row.pop(SEAL, None) != seal_of(row):
            continue
        if _OF in row:
            header = header or row
        else:
            rows.append(row)
    # Without a header nobody knows whose rows these are.
    return header, rows if header is not None else []


def _sealed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, SEAL: seal_of(row)}
