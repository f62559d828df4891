"""The run directory: everything a run knows, so that the same command can go on from it after a kill.

Its layout:

    run.json        what the run is: id, recipe, creation, package versions, its configuration, hashes of its texts
    config.yaml     the configuration once more, for people: a copy, which nothing reads
    inputs/         the texts that the configuration names: prompts, benchmarks
    events.jsonl    what happened and when
    timeline.jsonl  what was done when, see `timeline.py`
    .lock           held by the one writer
    iterations/<i>/<phase>/   see `phase.py`; iteration 0 has only `evaluate`, of the base model
    iterations/<i>/audit/     what a model said of the labels (`rzero-mega audit`); no phase looks at it
"""

from __future__ import annotations

import hashlib
import logging
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from rzero_mega import atomic
from rzero_mega.config import Config, config_from_values, to_yaml
from rzero_mega.config.kinds import KeyChange, changes_between, values_of
from rzero_mega.config.schema import NO_ABLATION
from rzero_mega.config.schema.metadata import Change
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run.changes import Done, TextChange, check_changes, notes, text_changes, text_notes
from rzero_mega.run.events import append_event, now
from rzero_mega.run.lock import RunLock, in_use, is_locked
from rzero_mega.run.phase import ITERATIONS, PhaseDirectory
from rzero_mega.run.sealed import read_sealed, write_sealed

FORMAT = 2
INPUTS = "inputs"
_MAPPINGS = ("versions", "config", "texts")
_PACKAGES = ("rzero-mega", "torch", "megatron-core", "transformers", "sglang", "transformer-engine", "wandb")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunInfo:
    """run.json. `config` is the run's configuration, `texts` the SHA-256 of what it names, by the key that names it."""

    format: int
    id: str
    recipe: str
    created: str
    versions: Mapping[str, str]
    wandb_id: str
    config: Mapping[str, Any]
    texts: Mapping[str, str]


def run_path(config: Config) -> Path:
    """Where the run of a configuration lies: run.root / run.name, or the recipe's name, the seed and the ablation."""
    name = config.run.name
    if name is None:
        ablation = "" if config.ablation == NO_ABLATION else f"-{config.ablation}"
        name = f"{config.recipe}-seed{config.seed}{ablation}"
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise UserError(f"run.name: {name!r} is not a folder's name; use letters, digits, dots, dashes and underscores")
    return Path(config.run.root) / name


class RunDirectory:
    """A run on disk. Construct it with `create_or_open`, `open_existing` or `latest`; close it to release the lock."""

    def __init__(self, path: Path, info: RunInfo, config: Config, lock: RunLock | None) -> None:
        """Use the class methods instead."""
        self.path, self.info, self.config = path, info, config
        self._lock = lock
        self.events_path = path / "events.jsonl"

    @classmethod
    def create_or_open(
        cls, path: Path, config: Config, writer: bool, texts: Mapping[str, str] | None = None
    ) -> RunDirectory:
        """Create the run, or go on with the one that is there, under another configuration as far as its keys allow it.

        The writer (rank 0) locks the directory; other ranks of the same job call this after it, with writer=False.
        `texts` are what the configuration names, by the key that names it; without them nothing is said about texts.
        Raises UserError for what may not change, a folder that is no run, a second writer, and bad storage.
        """
        if not writer:
            run = cls.open_existing(path)
            run.review(config, texts or {})
            return run
        _check_is_run_or_empty(path)
        _check_free_space(path, config.run.minimum_free_mb)
        with atomic.storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        lock = RunLock(path / ".lock")
        try:
            return cls._open_locked(path, config, texts or {}, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open_locked(cls, path: Path, config: Config, texts: Mapping[str, str], lock: RunLock) -> RunDirectory:
        atomic.recover(path)
        atomic.recover(path / INPUTS)
        if not (path / "run.json").is_file():
            run = cls(path, _new_info(config, texts), config, lock)
            run._write(texts)
            run.event("created")
            return run
        run = cls(path, _read_info(path), config, lock)._under(config, texts)
        for phase in run.phases():
            phase.sweep()
        run.event("resumed")
        return run

    def review(self, config: Config, texts: Mapping[str, str]) -> tuple[list[KeyChange], list[TextChange]]:
        """What is another one under this configuration and these texts; UserError if the run can't go on under them."""
        changes = changes_between(values_of(_recorded_config(self.path, self.info)), values_of(config))
        hashes = _hashes(texts)
        other = {key: text for key, text in texts.items() if self.info.texts.get(key) != hashes[key]}
        changed_texts = text_changes(self._texts(), other)
        check_changes(self.path, changes, changed_texts, self.done())
        return changes, changed_texts

    def _under(self, config: Config, texts: Mapping[str, str]) -> RunDirectory:
        """This run under another configuration that it can go on under, written down and with its events."""
        (changes, changed_texts), done = self.review(config, texts), self.done()
        self._warn_of_edited_copy()
        info = replace(self.info, config=asdict(config), texts={**self.info.texts, **_hashes(texts)})
        another = [change for change in changes if change.kind.change is Change.IDENTITY and not change.kind.named]
        if another and not any(phase.anything for phase in done):
            info = _new_info(config, texts)  # nothing of what it was is left: W&B is to see another run
            for phase in self.phases():
                shutil.rmtree(phase.work, ignore_errors=True)
        run = RunDirectory(self.path, info, config, self._lock)
        run._write(texts)
        if changes:
            run.event("changed", keys={change.key: [change.before, change.after] for change in changes})
        if changed_texts:
            run.event("changed", texts=[text.key for text in changed_texts])
        for warning in text_notes(changed_texts, done):
            _log.warning("%s", warning)
        for note, is_warning in notes(changes, done):
            _log.log(logging.WARNING if is_warning else logging.INFO, "%s", note)
        return run

    def _write(self, texts: Mapping[str, str]) -> None:
        """run.json is what counts, and goes first: what a kill leaves undone after it is done by the next attempt."""
        write_sealed(self.path / "run.json", asdict(self.info))
        for key, text in texts.items():
            (self.path / INPUTS).mkdir(exist_ok=True)
            atomic.write_text(self.path / INPUTS / key, text)
        atomic.write_text(self.path / "config.yaml", to_yaml(self.config))

    def _warn_of_edited_copy(self) -> None:
        copy = self.path / "config.yaml"
        if copy.is_file() and copy.read_bytes() != to_yaml(_recorded_config(self.path, self.info)).encode():
            _log.warning("%s: is not what run.json says, which counts; a run is changed by overrides", copy)

    def _texts(self) -> dict[str, str | None]:
        """The texts that the run has; None for one that is lost or damaged."""
        return {key: self._text(key, sha256) for key, sha256 in self.info.texts.items()}

    def _text(self, key: str, sha256: str) -> str | None:
        path = self.path / INPUTS / key
        content = path.read_bytes() if path.is_file() else b""
        return content.decode() if hashlib.sha256(content).hexdigest() == sha256 else None

    def text(self, key: str) -> str | None:
        """The text that the run has for what this key names; None if it was never told one. UserError if it is lost."""
        if key not in self.info.texts:
            return None
        text = self._text(key, self.info.texts[key])
        if text is None:
            raise UserError(
                f"{self.path / INPUTS / key}: is lost or damaged; start the run by its command to restore it"
            )
        return text

    def done(self) -> list[Done]:
        """What there is of every phase."""
        return [Done.of(phase) for phase in self.phases()]

    @classmethod
    def check_opening(
        cls, path: Path, config: Config, writer: bool = True, texts: Mapping[str, str] | None = None
    ) -> None:
        """What `create_or_open` would refuse, as far as it can be known without writing: UserError.

        With writer=False somebody else may be writing the run.
        """
        existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not existing.is_dir():
            raise UserError(f"{path}: {existing} is a file; choose another run.name or run.root")
        _check_is_run_or_empty(path)
        _check_free_space(path, config.run.minimum_free_mb)
        if writer and is_locked(path / ".lock"):
            raise UserError(in_use(path / ".lock"))
        if (path / "run.json").is_file():
            cls.create_or_open(path, config, writer=False, texts=texts)

    @classmethod
    def open_existing(cls, path: Path) -> RunDirectory:
        """Open a run for reading. Raises UserError when there is none."""
        if not (path / "run.json").is_file():
            raise UserError(f"{path}: is no run directory; give the folder of a run, one with a run.json")
        info = _read_info(path)
        return cls(path, info, _recorded_config(path, info), None)

    @classmethod
    def latest(cls, root: Path) -> RunDirectory:
        """Open the run below `root` in which something happened last. Raises UserError when there is none."""
        runs = [path.parent for path in root.glob("*/run.json")]
        if not runs:
            raise UserError(f"{root}: holds no run; start one with `rzero-mega run`, or name a run directory")
        return cls.open_existing(max(runs, key=_last_activity))

    @property
    def writer(self) -> bool:
        """Whether this object may write."""
        return self._lock is not None

    def is_alive(self) -> bool:
        """Whether some process is writing this run."""
        return self.writer or is_locked(self.path / ".lock")

    def phase(self, iteration: int, phase: PhaseName) -> PhaseDirectory:
        """The folder of a phase, which need not exist yet."""
        still_ours = self._lock.check if self._lock is not None else lambda: None
        return PhaseDirectory(self.path, iteration, phase, self.writer, self.info.id, still_ours)

    def phases(self) -> Iterator[PhaseDirectory]:
        """The phases that have a folder, in the order of the run."""
        for iteration in self.iterations():
            for name in PhaseName:
                phase = self.phase(iteration, name)
                if phase.path.is_dir():
                    yield phase

    def iterations(self) -> list[int]:
        """Numbers of the iterations that have a folder, ascending."""
        folder = self.path / ITERATIONS
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in names if re.fullmatch(r"\d{1,9}", name))

    def event(self, event: str, **fields: Any) -> None:
        """Append to events.jsonl; only the writer may."""
        if self._lock is None:
            raise RuntimeError(f"{self.path}: opened without writer=True; only rank 0 writes")
        self._lock.check()
        append_event(self.events_path, event, **fields)

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> RunDirectory:
        """Use the run in a `with` statement, which closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock."""
        self.close()


def _recorded_config(path: Path, info: RunInfo) -> Config:
    return config_from_values(info.config, str(path / "run.json"))


def _hashes(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: hashlib.sha256(text.encode()).hexdigest() for key, text in texts.items()}


def _check_is_run_or_empty(path: Path) -> None:
    with atomic.storage_errors(path):
        if not path.is_dir() or (path / "run.json").is_file():
            return
        strangers = [entry.name for entry in path.iterdir() if entry.name != ".lock" and not atomic.is_leftover(entry)]
    if strangers:
        raise UserError(
            f"{path}: is not empty and no run directory (it holds {min(strangers)}); choose another run.name"
        )


def _check_free_space(path: Path, minimum_mb: int) -> None:
    free_mb = atomic.free_bytes(path) / 2**20
    if free_mb < minimum_mb:
        raise UserError(
            f"run.minimum_free_mb: {path} has {free_mb:.0f} MB free and {minimum_mb} are wanted; "
            "free some space or set run.root to another file system"
        )


def _new_info(config: Config, texts: Mapping[str, str]) -> RunInfo:
    identifier = secrets.token_hex(4)
    return RunInfo(FORMAT, identifier, config.recipe, now(), _versions(), identifier, asdict(config), _hashes(texts))


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _read_info(path: Path) -> RunInfo:
    file = path / "run.json"
    data = read_sealed(file, "restore it, or choose another run.name")
    names = {spec.name for spec in fields(RunInfo)}
    if data.get("format", FORMAT) != FORMAT:
        raise UserError(
            f"{file}: has format {data['format']}, this version reads {FORMAT}; use the version that wrote it"
        )
    if not names <= data.keys() or not all(isinstance(data[m], dict) for m in _MAPPINGS):
        raise UserError(f"{file}: is not the run.json of a run; restore it, or choose another run.name")
    return RunInfo(**{name: data[name] for name in names})


def _last_activity(path: Path) -> float:
    return max(file.stat().st_mtime for file in (path / "run.json", path / "events.jsonl") if file.is_file())
