"""Whether a whole run is what it wrote: every manifest, output, part, checkpoint and row against its hash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rzero_mega.atomic import storage_errors
from rzero_mega.errors import UserError
from rzero_mega.run.checksums import Checksums, another_checkpoint
from rzero_mega.run.directory import RunDirectory
from rzero_mega.run.journal import FILE as JOURNAL
from rzero_mega.run.journal import Journal
from rzero_mega.run.manifest import Manifest
from rzero_mega.run.origin import Origin
from rzero_mega.run.outputs import check_presence
from rzero_mega.run.parts import check_part
from rzero_mega.run.phase import PhaseDirectory

# Hashing lets go of Python's lock, and one thread reads no disk of a cluster to its limit.
_THREADS = 8

Check = Callable[[], object]


@dataclass(frozen=True)
class Verdict:
    """What was looked at, and what is damaged: one line for each, which says what to do."""

    checks: int
    damaged: tuple[str, ...]


def verify_run(run: RunDirectory) -> Verdict:
    """Read and check everything that finished phases left, and unless somebody is writing it the unfinished work."""
    found: list[Check] = [partial(run.text, key) for key in run.info.texts]
    damaged: list[str] = []
    found += [partial(run.text, key) for key in run.info.texts]
    alive = run.is_alive()
    for phase in run.phases():
        try:
            manifest = phase.manifest()
            if manifest is not None:
                found += _finished(run, phase, manifest)
            if manifest is not None or not alive:
                found += _work(phase)
        except UserError as error:
            damaged.append(str(error))
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        damaged += [line for line in pool.map(partial(_problem, run.path), found) if line is not None]
    return Verdict(len(found) + len(damaged), tuple(dict.fromkeys(damaged)))


def _problem(run: Path, check: Check) -> str | None:
    try:
        with storage_errors(run):
            check()
    except UserError as error:
        return str(error)
    return None


def _finished(run: RunDirectory, phase: PhaseDirectory, manifest: Manifest) -> Iterator[Check]:
    yield partial(_check_inputs, run, phase, manifest)
    for name, artefact in manifest.outputs.items():
        if phase.is_removed(name) and not phase.output(name).exists():
            continue
        yield partial(check_presence, phase.path, artefact, phase.redo)
        for file in phase.output_files(name):
            if (phase.path / file).exists():
                yield partial(phase.check_output, name, [file])


def _check_inputs(run: RunDirectory, phase: PhaseDirectory, manifest: Manifest) -> None:
    """Each output of an earlier phase that this one started from must still be that phase's."""
    earlier = {f"{other.iteration}/{other.phase}/": other for other in run.phases()}
    for source, sha256 in manifest.inputs.items():
        folder, _, name = source.rpartition("/")
        if not folder:
            continue  # the base model, which lies elsewhere: a run compares it when it starts
        other = earlier.get(f"{folder}/")
        before = other.manifest() if other is not None else None
        if before is None or name not in before.outputs:
            raise UserError(f"{phase.path}: was made from {source}, which is no longer there; {phase.redo}")
        if before.outputs[name].sha256 != sha256:
            raise UserError(f"{phase.path}: was made from another {source} than the one that is there; {phase.redo}")


def _work(phase: PhaseDirectory) -> Iterator[Check]:
    """Parts of unfinished work, and checkpoints, of which some outlive it."""
    mark = phase.mark()
    if mark is None:
        if phase.finished_parts() or phase.checkpoints() or phase.percent_done():
            raise UserError(f"{phase.work / 'state.json'}: is missing beside partial work; remove {phase.work}")
        return
    for part in phase.finished_parts():
        yield partial(check_part, phase.part_path(part), mark, part)
    yield Journal(phase.work / JOURNAL, mark).rows
    for step, folder in phase.checkpoints():
        checksums = Checksums.read(folder)
        yield partial(_check_checkpoint, phase, folder, mark, step, checksums.step)
        for name in checksums.files:
            yield partial(checksums.check, folder, [name])


def _check_checkpoint(phase: PhaseDirectory, folder: Path, mark: str, step: int, checksums_step: int) -> None:
    Origin.read(folder, mark, step).check_metrics(phase.metrics_path)
    if checksums_step != step:
        raise UserError(f"{folder}: its checksums are of step {checksums_step}; {another_checkpoint(folder)}")
