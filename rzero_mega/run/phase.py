"""The folder of one phase of one iteration: partial work that survives a kill, then outputs and a manifest.

    manifest.json   written last: the phase is finished
    metrics.jsonl   one row per step
    profile/        profiles of the steps that were chosen for it
    ...             outputs (questions.jsonl, model/, ...)
    checkpoints/    those that stay after finishing, where any do: step_00003/
    work/           partial state, removed after finishing: state.json, part-00003.jsonl, journal.jsonl, step_00003/

Everything that a later attempt or phase reads is checked then: outputs and metrics against the manifest, parts and
checkpoints against what they say of themselves (`parts.py`, origin.json and checksums.json of a checkpoint).

Only the writer (rank 0) may change a folder; the others read it and write into the checkpoint's staging folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rzero_mega import atomic
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.records import R, Record, bounded, field, typed
from rzero_mega.run.checksums import FileHash
from rzero_mega.run.events import now
from rzero_mega.run.journal import FILE as JOURNAL
from rzero_mega.run.journal import Journal, percent_done
from rzero_mega.run.manifest import Artefact, Manifest, Values, read_manifest, read_values
from rzero_mega.run.origin import Origin
from rzero_mega.run.outputs import artefact_of, check_files, check_presence, files_of
from rzero_mega.run.parts import check_part, read_part, write_part
from rzero_mega.run.sealed import read_sealed, write_sealed

MANIFEST = "manifest.json"
ITERATIONS = "iterations"
"""The folder of a run that holds a folder per iteration, and that one per phase."""

HEARTBEAT_S = 10.0
"""How often the time spent is written down at least where rows are."""

_CHECKPOINT = re.compile(r"step_(\d+)")
_STAGING = re.compile(r"staging_(\d+)")
_PART = re.compile(r"part-(\d+)\.jsonl")


@dataclass(frozen=True)
class _Progress:
    """work/state.json: inputs and values of the partial work, and the time spent up to the last checkpoint or part."""

    run: str
    inputs: dict[str, str]
    attempts: int
    seconds: float
    values: list[Values]


class PhaseDirectory:
    """One phase's folder. Reading works at any time; writing between `begin` and `finish`."""

    def __init__(
        self,
        run: Path,
        iteration: int,
        phase: PhaseName,
        writer: bool = False,
        run_id: str = "",
        still_ours: Callable[[], None] = lambda: None,
    ) -> None:
        """Name the folder in a run's; nothing is created before `begin`.

        `run_id` tells this run's work from another's. `still_ours` is called before every write and raises UserError if
        another process has taken the run over.
        """
        self.iteration, self.phase, self.writer = iteration, phase, writer
        self._run_id, self._still_ours = run_id, still_ours
        self.path = run / ITERATIONS / str(iteration) / phase
        self.manifest_path = self.path / MANIFEST
        self.metrics_path = self.path / "metrics.jsonl"
        self.work = self.path / "work"
        self.kept = self.path / "checkpoints"
        self._began = self._last_heartbeat = 0.0
        self._progress: _Progress | None = None
        self._last_step = 0

    # Reading

    def manifest(self) -> Manifest | None:
        """The manifest; None while the phase is unfinished. Raises UserError naming the file when it is malformed."""
        manifest = read_manifest(self.manifest_path)
        if manifest is not None and (manifest.phase, manifest.iteration) != (self.phase, self.iteration):
            raise UserError(
                f"{self.manifest_path}: malformed: is of iteration {manifest.iteration}, {manifest.phase}; {self.redo}"
            )
        return manifest

    def is_finished(self, inputs: Mapping[str, str], unneeded: Container[str] = ()) -> bool:
        """Whether the phase is done for these inputs (SHA-256 by name). `unneeded` outputs may be gone.

        Raises UserError when it was done with other inputs, or when an output is missing or has changed. Of folders the
        names and sizes of files are looked at; their content is, once they are used (`check_output`).
        """
        manifest = self.manifest()
        if manifest is None:
            return False
        # Whether a phase also needs the base model is a matter of keys that may change for phases that aren't finished.
        optional = {"base"} & (manifest.inputs.keys() ^ inputs.keys())
        self._check_inputs(_without(manifest.inputs, optional), _without(inputs, optional))
        for name, artefact in manifest.outputs.items():
            if name not in unneeded:
                check_presence(self.path, artefact, self.redo)
        return True

    def is_removed(self, name: str) -> bool:
        """Whether `remove_output` has removed it."""
        return self._removed(name).is_file()

    def remove_output(self, name: str) -> None:
        """Give up the disk space of a finished phase's output. The manifest goes on saying what it was."""
        self._only_writer()
        path = self.output(name)
        atomic.write_json(self._removed(name), {"removed": now()})
        with atomic.storage_errors(path):
            atomic.remove(path)

    @property
    def trains(self) -> bool:
        """Whether the phase has steps with checkpoints, and not parts."""
        return self.phase.trains

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

    def output_files(self, name: str) -> list[str]:
        """What `check_output` can check by itself: the files of an output, relative to the phase's folder."""
        return files_of(self.artefact(name))

    def check_output(self, name: str, files: Sequence[str]) -> None:
        """UserError names the first of these `output_files` that is not what it was when the phase finished."""
        check_files(self.path, self.artefact(name), files, self.redo)

    def metrics(self) -> list[dict[str, Any]]:
        """Rows logged so far, oldest first; a torn last line is passed over."""
        if not self.metrics_path.is_file():
            return []
        rows = atomic.read_jsonl(self.metrics_path, skip_malformed=True)
        return [row for row in rows if type(row.get("step")) is int and row["step"] > 0]

    def done(self) -> int:
        """Steps or parts of the partial work that are done, and need not be done again."""
        checkpoint = self.latest_checkpoint()
        return checkpoint[0] if checkpoint is not None else len(self.finished_parts()) or self.percent_done()

    def values(self) -> Sequence[Values]:
        """The configuration that the phase had so far, and its changes; none before it begins."""
        manifest = self.manifest()
        if manifest is not None:
            return manifest.values
        progress = self._read_progress()
        return progress.values if progress is not None else ()

    # Life of an attempt

    def begin(self, inputs: Mapping[str, str], values: Mapping[str, Any] | None = None) -> None:
        """Start an attempt under these values of the configuration: clear what a kill left half-written, and count it.

        Raises UserError when there is partial work for other inputs or of another run.
        """
        self._only_writer()
        if self.manifest_path.exists():
            raise RuntimeError(f"{self.path} is finished; ask is_finished before begin")
        with atomic.storage_errors(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
        self.sweep()
        before, done = self._read_progress(), self.done()
        if before is not None and not done and before.inputs != inputs:
            before = None  # an attempt that got nowhere holds on to nothing
        if before is not None:
            self._check_inputs(before.inputs, inputs)
        elif self.finished_parts() or self.checkpoints() or self.percent_done():
            raise UserError(f"{self.work / 'state.json'}: is missing beside partial work; {self._afresh}")
        attempts, seconds = (before.attempts, before.seconds) if before else (0, 0.0)
        history = _history(before.values if before and done else [], done, values or {})
        self._began = time.monotonic()
        self._progress = _Progress(self._run_id, dict(inputs), attempts + 1, seconds, history)
        rows = self.metrics()
        self._last_step = rows[-1]["step"] if rows else 0
        self._heartbeat()

    def finish(
        self,
        outputs: Mapping[str, Path],
        summary: Mapping[str, Any],
        hashed: Mapping[str, Mapping[str, FileHash]] | None = None,
    ) -> Manifest:
        """Hash the outputs (files or folders inside this folder), write the manifest and remove the partial work.

        `hashed` has, by name, the files of folders of which the hashes are known.
        The metrics are an output too. UserError if rows of them were lost or doubled since they were logged.
        """
        progress = self._writing()
        if self.metrics_path.is_file():
            self._check_rows()
            outputs = {**outputs, "metrics": Path(self.metrics_path.name)}
        artefacts = {}
        with atomic.storage_errors(self.path):
            for name, output in outputs.items():
                artefacts[name] = artefact_of(self.path, self.path / output, (hashed or {}).get(name))
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
            values=progress.values,
        )
        write_sealed(self.manifest_path, manifest.as_json())
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
        atomic.append_line(self.metrics_path, {"step": step, **row})
        self._last_step = step

    def truncate_metrics(self, to_step: int) -> None:
        """Drop rows after `to_step`, so that the curves of a resumed run are those of an uninterrupted one.

        UserError if the rows up to the checkpoint of that step are not those that were logged.
        """
        self._writing()
        for folder in [folder for step, folder in self.checkpoints() if step == to_step]:
            Origin.read(folder, self._of(self._writing()), to_step).check_metrics(self.metrics_path)
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
        write_part(self.part_path(part), self._of(self._writing()), part, records)
        self._heartbeat()

    def checked_parts(self, planned: int) -> list[int]:
        """Numbers of the parts that need not be written again. UserError names one that is not what was written here.

        `planned` is how many the phase has in all.
        """
        finished, of = self.finished_parts(), self._of(self._writing())
        for part in finished:
            if part >= planned:
                raise UserError(f"{self.part_path(part)}: the phase has {planned} parts, and this is none; remove it")
            check_part(self.part_path(part), of, part)
        return finished

    def read_parts(self, kind: type[R], parts: range) -> list[R]:
        """Records of these parts, in their order. UserError names one that is missing or has changed."""
        of = self._of(self._writing())
        missing = sorted({*parts} - {*self.finished_parts()})
        if missing:
            raise UserError(f"{self.part_path(missing[0])}: is missing; run the same command to have it done again")
        return [record for part in parts for record in read_part(self.part_path(part), of, part, kind)]

    # Journal

    def journal(self) -> Journal:
        """What the phase has so far, where that is written row by row."""
        return Journal(self.work / JOURNAL, self._of(self._writing()), self._before_row)

    def percent_done(self) -> int:
        """How much of the work the journal holds."""
        return percent_done(self.work / JOURNAL)

    def _before_row(self) -> None:
        self._writing()
        if time.monotonic() - self._last_heartbeat > HEARTBEAT_S:
            self._heartbeat()

    # Checkpoints

    def checkpoint_path(self, step: int) -> Path:
        """Where the checkpoint after a step lies once it is committed."""
        return self.work / f"step_{step:05d}"

    def checkpoint_staging(self, step: int) -> Path:
        """Where all ranks write a step's checkpoint. The writer makes the folder, with the checkpoint's origin in it.

        The others wait for that. Rows of metrics up to this step are logged before.
        """
        staging = self.work / f"staging_{step:05d}"
        if self.writer:
            origin = Origin.now(self._of(self._writing()), step, self.metrics_path)
            with atomic.storage_errors(staging):
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir(parents=True)
            origin.write(staging)
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
        """Step and folder of the checkpoint to go on from; None where there is none.

        UserError, in an attempt, if it is of another run, phase or step than its place says.
        """
        checkpoints = self.checkpoints()
        if not checkpoints:
            return None
        step, folder = checkpoints[-1]
        if self._progress is not None:
            Origin.read(folder, self._of(self._writing()), step)
        return step, folder

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

    def _removed(self, name: str) -> Path:
        return self.path / f"{name}.removed"

    @property
    def redo(self) -> str:
        """What to do about an output that is damaged."""
        return f"restore it, or remove {self.path} and the folders of later phases to redo them"

    @property
    def _afresh(self) -> str:
        return f"remove {self.work} to start the phase afresh"

    def _only_writer(self) -> None:
        if not self.writer:
            raise RuntimeError(f"{self.path}: opened without writer=True; only rank 0 writes")

    def _writing(self) -> _Progress:
        self._only_writer()
        if self._progress is None:
            raise RuntimeError(f"{self.path}: write between begin and finish")
        self._still_ours()
        return self._progress

    def mark(self) -> str | None:
        """What marks work as this phase's, of this run and made from its inputs; None where it has not begun."""
        begun = self.manifest() or self._read_progress()
        return None if begun is None else self._of(begun)

    def _of(self, begun: _Progress | Manifest) -> str:
        inputs = hashlib.sha256(json.dumps(dict(begun.inputs), sort_keys=True).encode()).hexdigest()
        return f"{self._run_id}/{self.iteration}/{self.phase}/{inputs[:16]}"

    def _elapsed(self) -> float:
        return self._writing().seconds + time.monotonic() - self._began

    def _heartbeat(self) -> None:
        state = asdict(self._writing()) | {"seconds": round(self._elapsed(), 3)}
        write_sealed(self.work / "state.json", state)
        self._last_heartbeat = time.monotonic()

    def _read_progress(self) -> _Progress | None:
        path = self.work / "state.json"
        if not path.is_file():
            return None
        state = read_sealed(path, self._afresh)
        try:
            inputs = {name: typed(value, str, name) for name, value in field(state, "inputs", dict).items()}
            attempts = bounded(field(state, "attempts", int), "attempts", 1)
            seconds = bounded(float(typed(state["seconds"], float, "seconds")), "seconds", 0.0)
            values = read_values(state.get("values", []))
            progress = _Progress(field(state, "run", str), inputs, attempts, seconds, values)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: malformed ({error!r}); {self._afresh}") from None
        if progress.run != self._run_id:
            raise UserError(f"{path}: is of run {progress.run}, and this is {self._run_id}; {self._afresh}")
        return progress

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Steps and folders of the checkpoints, ascending."""
        return sorted(_numbered(self.work, _CHECKPOINT) + _numbered(self.kept, _CHECKPOINT))

    def _check_rows(self) -> None:
        steps = [row["step"] for row in self.metrics()]
        wrong = next((step for step, found in enumerate(steps, start=1) if step != found), None)
        if wrong is not None or len(steps) != self._last_step:
            raise UserError(
                f"{self.metrics_path}: the row of step {wrong or len(steps) + 1} was lost or doubled; "
                f"restore it, or remove {self.path} to redo the phase"
            )

    def _check_inputs(self, before: Mapping[str, str], inputs: Mapping[str, str]) -> None:
        changed = sorted(name for name in {*before, *inputs} if before.get(name) != inputs.get(name))
        if changed:
            base = "give the run its base model back (model.path), " if "base" in changed else ""
            if "base" in before.keys() ^ inputs.keys():
                base = "set back the keys that say whether it needs the base model, "
            raise UserError(
                f"{self.path}: was made from other inputs ({', '.join(changed)} changed); {base}"
                "remove this folder and those of later phases to redo them, or choose another run.name"
            )


def _without(inputs: Mapping[str, str], names: Container[str]) -> dict[str, str]:
    return {name: sha256 for name, sha256 in inputs.items() if name not in names}


def _history(before: Sequence[Values], done: int, values: Mapping[str, Any]) -> list[Values]:
    """What went before, and from here on the values that are other ones than those."""
    had = merged(before)
    changed = {key: value for key, value in values.items() if key not in had or had[key] != value}
    return [*before, Values(done, changed)] if changed else list(before)


def merged(history: Iterable[Values]) -> dict[str, Any]:
    """The values at the end of a phase's history."""
    return {key: value for values in history for key, value in values.values.items()}


def _numbered(folder: Path, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    if not folder.is_dir():
        return []
    matches = ((pattern.fullmatch(entry.name), entry) for entry in folder.iterdir())
    return sorted((int(match[1]), entry) for match, entry in matches if match)
