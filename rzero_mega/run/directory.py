"""The run directory: everything a run knows, so that the same command can go on from it after a kill.

Its layout:

    config.yaml     the resolved configuration
    run.json        format version, id, recipe, creation, package versions, W&B run id, hash of the configuration
    events.jsonl    what happened and when
    .lock           held by the one writer
    iterations/<i>/<phase>/   see `phase.py`; iteration 0 has only `evaluate`, of the base model
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from rzero_mega import atomic
from rzero_mega.config import Config, config_from_yaml, to_yaml
from rzero_mega.config.schema import NO_ABLATION
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run.events import append_event, now
from rzero_mega.run.lock import RunLock, is_locked
from rzero_mega.run.phase import ITERATIONS, PhaseDirectory

FORMAT = 1
# Keys that change how a run is watched, paced or prolonged, and never what a step computes. The guard decides about
# updates that failed: a run that one of them stopped must be able to go on past it.
FREE_KEYS = ("tracking", "run", "iterations", "grading.workers", "placement", "learner.checkpoint", "learner.guard")
_PACKAGES = ("rzero-mega", "torch", "megatron-core", "transformers", "sglang", "transformer-engine", "wandb")
_SHOWN_DIFFERENCES = 4


@dataclass(frozen=True)
class RunInfo:
    """run.json: what never changes about a run. `config_sha256` leaves the free keys out."""

    format: int
    id: str
    recipe: str
    created: str
    versions: Mapping[str, str]
    wandb_id: str
    config_sha256: str


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
    def create_or_open(cls, path: Path, config: Config, writer: bool) -> RunDirectory:
        """Create the run, or go on with the one that is there when its configuration agrees.

        The writer (rank 0) locks the directory; other ranks of the same job call this after it, with writer=False.
        Raises UserError for another configuration, a folder that is no run, a second writer, and bad storage.
        """
        if not writer:
            run = cls.open_existing(path)
            _check_config(path, run.config, config)
            return run
        _check_is_run_or_empty(path)
        _check_free_space(path, config.run.minimum_free_mb)
        with atomic.storage_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        lock = RunLock(path / ".lock")
        try:
            return cls._open_locked(path, config, lock)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _open_locked(cls, path: Path, config: Config, lock: RunLock) -> RunDirectory:
        atomic.recover(path)
        resumed = (path / "run.json").is_file()
        if resumed:
            info = _read_info(path)
            if (path / "config.yaml").is_file():
                _check_config(path, _read_config(path), config)
            elif info.config_sha256 != _config_sha256(config):
                raise UserError(
                    f"{path}: its config.yaml is lost and this is not the configuration it was started with"
                )
        else:
            info = _new_info(config)
            atomic.write_json(path / "run.json", asdict(info))
        atomic.write_text(path / "config.yaml", to_yaml(config))
        run = cls(path, info, config, lock)
        for phase in run.phases():
            phase.sweep()
        run.event("resumed" if resumed else "created")
        return run

    @classmethod
    def open_existing(cls, path: Path) -> RunDirectory:
        """Open a run for reading. Raises UserError when there is none."""
        if not (path / "run.json").is_file() or not (path / "config.yaml").is_file():
            raise UserError(f"{path}: is no run directory; give the folder of a run, one with a run.json")
        return cls(path, _read_info(path), _read_config(path), None)

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
        return PhaseDirectory(self.path, iteration, phase, self.writer, self.info.id)

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
        if not self.writer:
            raise RuntimeError(f"{self.path}: opened without writer=True; only rank 0 writes")
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


def config_differences(old: Config, new: Config) -> list[str]:
    """Keys whose change would change results, each as `key: old → new`."""
    before, after = _deciding_values(old), _deciding_values(new)
    return [f"{key}: {before[key]} → {after[key]}" for key in before if before[key] != after[key]]


def _deciding_values(config: Config) -> dict[str, Any]:
    flat = _flatten(asdict(config), "")
    return {
        key: value for key, value in flat.items() if not any(f"{key}.".startswith(f"{free}.") for free in FREE_KEYS)
    }


def _flatten(node: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _config_sha256(config: Config) -> str:
    return hashlib.sha256(json.dumps(_deciding_values(config), sort_keys=True).encode()).hexdigest()


def _check_config(path: Path, old: Config, new: Config) -> None:
    differences = config_differences(old, new)
    if differences:
        more = f" and {len(differences) - _SHOWN_DIFFERENCES} more" if len(differences) > _SHOWN_DIFFERENCES else ""
        shown = "; ".join(differences[:_SHOWN_DIFFERENCES])
        raise UserError(f"{path}: was started with another configuration ({shown}{more}); choose another run.name")


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


def _new_info(config: Config) -> RunInfo:
    identifier = secrets.token_hex(4)
    return RunInfo(FORMAT, identifier, config.recipe, now(), _versions(), identifier, _config_sha256(config))


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
    data = atomic.read_json(file)
    names = {spec.name for spec in fields(RunInfo)}
    if not isinstance(data, dict) or not names <= data.keys() or not isinstance(data["versions"], dict):
        raise UserError(f"{file}: is not the run.json of a run; restore it, or choose another run.name")
    if data["format"] != FORMAT:
        raise UserError(
            f"{file}: has format {data['format']}, this version reads {FORMAT}; use the version that wrote it"
        )
    return RunInfo(**{name: data[name] for name in names})


def _read_config(path: Path) -> Config:
    return config_from_yaml(path / "config.yaml")


def _last_activity(path: Path) -> float:
    return max(file.stat().st_mtime for file in (path / "run.json", path / "events.jsonl") if file.is_file())
