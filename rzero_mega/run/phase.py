"""The folder of one phase of one iteration: partial work that survives a kill, then outputs and a manifest.

    manifest.json   written last: the phase is finished
    metrics.jsonl   one row per step
    ...             outputs (questions.jsonl, model/, ...)
    checkpoints/    those that stay after finishing, where any do: step_00003/
    work/           partial state, removed after finishing: state.json, part-00003.jsonl, step_00003/

Only the writer (rank 0) may change a folder; the others read it and write into the checkpoint's staging folder.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import R, Record, read_records
from rzero_mega.run.events import append_line, now
from rzero_mega.run.manifest import Artefact, Manifest, read_manifest

ITERATIONS = "iterations"
"""The folder of a run that holds a folder per iteration, and that one per phase."""

_CHECKPOINT = re.compile(r"step_(\d+)")
_STAGING = re.compile(r"staging_(\d+)")
_PART = re.compile(r"part-(\d+)\.jsonl")


@dataclass(frozen=True)
class _Progress:
    """work/state.json: the inputs of the partial work, and the time spent up to the last checkpoint or part."""

    inputs: dict[str, str]
    attempts: int
    seconds: float


class PhaseDirectory:
    """One phase's folder. Reading works at any time; writing between `begin` and `finish`."""

    def __init__(self, run: Path, iteration: int, phase: PhaseName, writer: bool = False) -> None:
        """Name the folder in a run's; nothing is created before `begin`."""
        self.iteration, self.phase, self.writer = iteration, phase, writer
        self.path = run / ITERATIONS / str(iteration) / phase
        self.manifest_path = self.path / "manifest.json"
        self.metrics_path = self.path / "metrics.jsonl"
        self.work = self.path / "work"
        self.kept = self.path / "checkpoints"
        self._began = 0.0
        self._progress: _Progress | None = None
        self._last_step = 0

    # Reading

    def manifest(self) -> Manifest | None:
        """The manifest; None while the phase is unfinished. Raises UserError naming the file when it is malformed."""
        return read_manifest(self.manifest_path)

    def is_finished(self, inputs: Mapping[str, str]) -> bool:
        """Whether the phase is done for these inputs (SHA-256 by name).

        Raises UserError when it was done with other inputs, or when an output is missing or has another size.
        """
        manifest = self.manifest()
        if manifest is None:
            return False
        self._check_inputs(manifest.inputs, inputs)
        for name, artefact in manifest.outputs.items():
            output = self.path / artefact.path
            if not output.exists() or atomic.size_bytes(output) != artefact.bytes:
                state = "has changed" if output.exists() else "is missing"
                raise UserError(
                    f"{output}: output {name} {state} since the phase finished; remove {self.path} to redo it"
                )
        return True

    def has_begun(self) -> bool:
        """Whether there is partial work, or the phase is finished."""
        return (self.work / "state.json").is_file() or self.manifest_path.is_file()

    def artefact(self, name: str) -> Artefact:
        """An output of the finished phase. Raises UserError when there is none of that name."""
        manifest = self.manifest()
        if manifest is None or name not in manifest.outputs:
            raise UserError(f"{self.path}: has no finished output {name}; run the phase {self.phase} first")
        return manifest.outputs[name]

    def output(self, name: str) -> Path:
        """Where an output of the finished phase lies; see `artefact`."""
        return self.path / self.artefact(name).path

    def metrics(self) -> list[dict[str, Any]]:
        """Rows logged so far, oldest first; a torn last line is passed over."""
        if not self.metrics_path.is_file():
            return []
        rows = atomic.read_jsonl(self.metrics_path, skip_malformed=True)
        return [row for row in rows if isinstance(row.get("step"), int)]

    # Life of an attempt

    def begin(self, inputs: Mapping[str, str]) -> None:
        """Start an attempt: clear what a kill left half-written and count the attempt.

        Raises UserError when there is partial work for other inputs.
        """
        self._only_writer()
        if self.manifest_path.exists():
            raise RuntimeError(f"{self.path} is finished; ask is_finished before begin")
        with atomic.storage_errors(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
        self.sweep()
        before = self._read_progress()
        if before is not None:
            self._check_inputs(before.inputs, inputs)
        attempts, seconds = (before.attempts, before.seconds) if before else (0, 0.0)
        self._began = time.monotonic()
        self._progress = _Progress(dict(inputs), attempts + 1, seconds)
        rows = self.metrics()
        self._last_step = rows[-1]["step"] if rows else 0
        self._heartbeat()

    def finish(self, outputs: Mapping[str, Path], summary: Mapping[str, Any]) -> Manifest:
        """Hash the outputs (files or folders inside this folder), write the manifest and remove the partial work."""
        progress = self._writing()
        artefacts = {}
        with atomic.storage_errors(self.path):
            for name, output in outputs.items():
                artefacts[name] = self._artefact(output)
            if self.metrics_path.is_file():
                atomic.fsync_file(self.metrics_path)
            atomic.fsync_folder(self.path)
        manifest = Manifest(
            phase=self.phase,
            iteration=self.iteration,
            inputs=progress.inputs,
            outputs=artefacts,
            summary=dict(summary),
            seconds=round(self._elapsed(), 3),
            attempts=progress.attempts,
            finished=now(),
        )
        atomic.write_json(self.manifest_path, manifest.as_json())
        self._progress = None
        shutil.rmtree(self.work)
        return manifest

    def sweep(self) -> None:
        """Clear away what a kill left half-written; after finishing also the partial work."""
        self._only_writer()
        atomic.recover(self.path)
        with atomic.storage_errors(self.work):
            if self.manifest_path.exists():
                shutil.rmtree(self.work, ignore_errors=True)
            atomic.recover(self.work)
            for _, folder in _numbered(self.work, _STAGING):
                shutil.rmtree(folder)

    # Steps

    def log_step(self, step: int, row: Mapping[str, Any]) -> None:
        """Append the scalars of a step (counted from 1) to metrics.jsonl. Steps must grow; see `truncate_metrics`."""
        self._writing()
        if step <= self._last_step:
            raise ValueError(f"{self.metrics_path}: step {step} after step {self._last_step}; truncate_metrics first")
        append_line(self.metrics_path, {"step": step, **row})
        self._last_step = step

    def truncate_metrics(self, to_step: int) -> None:
        """Drop rows after `to_step`, so that the curves of a resumed run are those of an uninterrupted one."""
        self._writing()
        rows = [row for row in self.metrics() if row["step"] <= to_step]
        if rows or self.metrics_path.exists():
            atomic.write_jsonl(self.metrics_path, rows)
        self._last_step = rows[-1]["step"] if rows else 0

    # Parts

    def part_path(self, part: int) -> Path:
        """Where a part of the work lies."""
        return self.work / f"part-{part:05d}.jsonl"

    def finished_parts(self) -> list[int]:
        """Numbers of the parts that are written, ascending."""
        return [number for number, _ in _numbered(self.work, _PART)]

    def write_part(self, part: int, records: Iterable[Record]) -> None:
        """Write a part, whole or not at all, and record the time spent."""
        self._writing()
        atomic.write_jsonl(self.part_path(part), (record.as_json() for record in records))
        self._heartbeat()

    def read_parts(self, kind: type[R]) -> list[R]:
        """Records of all finished parts, in the order of the parts."""
        return [record for part in self.finished_parts() for record in read_records(self.part_path(part), kind)]

    # Checkpoints

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint after a step lies once it is committed."""
        return self.work / f"step_{step:05d}"

    def checkpoint_staging(self, step: int) -> Path:
        """Where all ranks write a step's checkpoint. The writer makes the folder, empty; the others wait for that."""
        staging = self.work / f"staging_{step:05d}"
        if self.writer:
            with atomic.storage_errors(staging):
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir(parents=True)
        return staging

    def commit_checkpoint(self, step: int, keep: int = 1, keep_every: int | None = None) -> None:
        """Make the staged checkpoint the latest one. All ranks must have written before.

        Of the older ones, the newest stay, up to `keep` in all, and those of each `keep_every`-th step.
        """
        self._writing()
        final = self.checkpoint_path(step)
        with atomic.storage_errors(final):
            if self.metrics_path.is_file():
                atomic.fsync_file(self.metrics_path)
            atomic.replace_folder(self.work / f"staging_{step:05d}", final)
            self._heartbeat()
            for other, folder in _numbered(self.work, _CHECKPOINT)[:-keep]:
                if keep_every is None or other % keep_every:
                    # Renamed first: a kill leaves no half of a checkpoint under a checkpoint's name.
                    doomed = self.work / f"staging_{other:05d}"
                    folder.rename(doomed)
                    shutil.rmtree(doomed)

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """Step and folder of the checkpoint to go on from; None where there is none."""
        checkpoints = sorted(_numbered(self.work, _CHECKPOINT) + _numbered(self.kept, _CHECKPOINT))
        return checkpoints[-1] if checkpoints else None

    def keep_checkpoints(self) -> None:
        """Move the checkpoints out of the partial work: they stay when the phase is finished.

        A kill in between loses none: the work goes on from wherever the latest lies.
        """
        self._writing()
        with atomic.storage_errors(self.kept):
            self.kept.mkdir(exist_ok=True)
            for _, folder in _numbered(self.work, _CHECKPOINT):
                atomic.replace_folder(folder, self.kept / folder.name)

    # Inside

    def _only_writer(self) -> None:
        if not self.writer:
            raise RuntimeError(f"{self.path}: opened without writer=True; only rank 0 writes")

    def _writing(self) -> _Progress:
        self._only_writer()
        if self._progress is None:
            raise RuntimeError(f"{self.path}: write between begin and finish")
        return self._progress

    def _elapsed(self) -> float:
        return self._writing().seconds + time.monotonic() - self._began

    def _heartbeat(self) -> None:
        progress = self._writing()
        state = {"inputs": progress.inputs, "attempts": progress.attempts, "seconds": round(self._elapsed(), 3)}
        atomic.write_json(self.work / "state.json", state)

    def _read_progress(self) -> _Progress | None:
        path = self.work / "state.json"
        if not path.is_file():
            return None
        state = atomic.read_json(path)
        try:
            return _Progress(dict(state["inputs"]), int(state["attempts"]), float(state["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: malformed ({error!r}); remove {self.work} to start the phase afresh") from None

    def _check_inputs(self, before: Mapping[str, str], inputs: Mapping[str, str]) -> None:
        changed = sorted(name for name in {*before, *inputs} if before.get(name) != inputs.get(name))
        if changed:
            raise UserError(
                f"{self.path}: was made from other inputs ({', '.join(changed)} changed); "
                "remove this folder and those of later phases to redo them, or choose another run.name"
            )

    def _artefact(self, output: Path) -> Artefact:
        path = output if output.is_absolute() else self.path / output
        relative = path.relative_to(self.path).as_posix()
        atomic.fsync_tree(path) if path.is_dir() else atomic.fsync_file(path)
        return Artefact(relative, atomic.sha256(path), atomic.size_bytes(path))


def _numbered(folder: Path, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    matches = ((pattern.fullmatch(entry.name), entry) for entry in folder.iterdir())
    return sorted((int(match[1]), entry) for match, entry in matches if match)
