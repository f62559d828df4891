"""Whose a checkpoint is: a file in it names run, phase, inputs and step, and what metrics.jsonl held then."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.records import field
from rzero_mega.run.checksums import FileHash, another_checkpoint

ORIGIN = "origin.json"


@dataclass(frozen=True)
class Origin:
    """origin.json of a checkpoint. `metrics` is the hash of the rows up to the step, as they lie in the file."""

    of: str
    step: int
    metrics: FileHash

    @classmethod
    def now(cls, of: str, step: int, metrics: Path) -> Origin:
        """Of a checkpoint that is made now, with the rows that are logged."""
        data = _content(metrics)
        return cls(of, step, FileHash(hashlib.sha256(data).hexdigest(), len(data)))

    @classmethod
    def read(cls, folder: Path, of: str, step: int) -> Origin:
        """That of a checkpoint's folder. UserError unless it is of `of` and made after `step`, as its name says."""
        path, advice = folder / ORIGIN, another_checkpoint(folder)
        if not path.is_file():
            raise UserError(f"{path}: is missing; {advice}")
        try:
            with atomic.storage_errors(path):
                row = atomic.parse_object(path.read_bytes())
            metrics = FileHash.from_json(field(row, "metrics", dict))
            origin = cls(field(row, "of", str), field(row, "step", int), metrics)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: malformed ({error}); {advice}") from None
        if origin.step != step:
            raise UserError(f"{path}: the checkpoint was made after step {origin.step} and not {step}; {advice}")
        if origin.of != of:
            raise UserError(f"{path}: the checkpoint is of another run or phase, or of other inputs; {advice}")
        return origin

    def write(self, folder: Path) -> None:
        """Write the file into a checkpoint's folder."""
        atomic.write_json(folder / ORIGIN, asdict(self))

    def check_metrics(self, path: Path) -> None:
        """UserError unless the file of metrics begins with the rows that were there when the checkpoint was made."""
        if hashlib.sha256(_content(path)[: self.metrics.bytes]).hexdigest() != self.metrics.sha256:
            raise UserError(
                f"{path}: the rows up to step {self.step} are not those that were logged (lost, doubled or changed); "
                f"restore it, or remove {path.parent} to redo the phase"
            )


def _content(path: Path) -> bytes:
    with atomic.storage_errors(path):
        return path.read_bytes() if path.is_file() else b""
