"""The folder that a conversion writes into: what is finished in it, of which source, and how it becomes the target."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rzero_mega.atomic import fsync_file, read_json, recover, replace_folder, write_json
from rzero_mega.errors import UserError
from rzero_mega.run.lock import RunLock, holder, is_locked

JOURNAL = ".converting.json"
LOCK = ".converting.lock"


class WorkFolder:
    """`.NAME.converting` beside the target, with a journal of its finished files; use it as a context manager.

    What a kill leaves is taken up by the next conversion of the same source with the same settings to the same target.
    """

    def __init__(self, target: Path, settings: Mapping[str, Any], sources: Iterable[Path]) -> None:
        """`sources` are the files that are read. UserError if the target exists, or another conversion was begun."""
        self._target = target
        self.path = target.with_name(f".{target.name}.converting")
        if target.is_dir() and (target / JOURNAL).is_file():
            (target / JOURNAL).unlink()  # killed after the very last step
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(f"{target}: is there already; remove it or convert to another place")
        self._binding = {"settings": dict(settings), "sources": {str(p.resolve()): _state(p) for p in sources}}
        self._finished: dict[str, Any] = {}

    def __enter__(self) -> WorkFolder:
        self.path.mkdir(parents=True, exist_ok=True)
        if is_locked(self.path / LOCK):
            raise UserError(f"{self._target}: being converted by {holder(self.path / LOCK)}; wait for it or stop it")
        self._lock = RunLock(self.path / LOCK)
        recover(self.path)
        if (self.path / JOURNAL).is_file():
            self._finished = self._read_journal()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.release()

    def details(self, file: str) -> Any | None:
        """The `details` that `add` was given for a finished file; None for one that is to be written."""
        found = self._finished.get(file)
        if found is None or _state(self.path / file)[:1] != [found["bytes"]]:
            return None
        return found["details"]

    def add(self, file: str, details: Any) -> None:
        """Note that a file is finished, after flushing it to disk."""
        fsync_file(self.path / file)
        self._finished[file] = {"bytes": (self.path / file).stat().st_size, "details": details}
        write_json(self.path / JOURNAL, {**self._binding, "finished": self._finished})

    def publish(self) -> None:
        """Make the folder the target."""
        (self.path / LOCK).unlink()
        replace_folder(self.path, self._target)
        (self._target / JOURNAL).unlink(missing_ok=True)

    def _read_journal(self) -> dict[str, Any]:
        path = self.path / JOURNAL
        remedy = f"remove {self.path} to begin anew"
        try:
            journal = read_json(path)
            begun = {**journal["settings"], **journal["sources"]}
            finished = {
                str(file): {"bytes": f["bytes"], "details": f["details"]} for file, f in journal["finished"].items()
            }
        except (UserError, KeyError, TypeError, AttributeError):
            raise UserError(f"{path}: not readable; {remedy}") from None
        here = json.loads(json.dumps({**self._binding["settings"], **self._binding["sources"]}))
        changed = sorted(key for key in {*begun, *here} if begun.get(key) != here.get(key))
        if changed:
            raise UserError(f"{path}: begun with other {', '.join(changed)}; {remedy}")
        return finished


def _state(path: Path) -> list[int]:
    """Size in bytes and time of the last change in ns; nothing for a file that is not there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return []
    return [found.st_size, found.st_mtime_ns]
