"""Damage each file of a run in each state that its phases can be in, and see what notices.

    python -m tools.damage [--every N] [--seed N]

A tiny nano run is stopped in the middle of every phase, and finished. Of each of these states every file is damaged in
every way, one at a time; then `run` goes on as far as drawing its first sample, and `verify` reads the state. What is
neither named by one of the two, nor found again as it was in what `run` left, is silent.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rzero_mega.recipes import load_recipe

from rzero_mega.atomic import files_below
from rzero_mega.config import Config
from rzero_mega.errors import UserError
from rzero_mega.phases import context
from rzero_mega.phases.runner import run_phases
from rzero_mega.run import RunDirectory
from rzero_mega.run.stop import Stopped, StopRequest
from rzero_mega.run.verify import verify_run

SIZES = (
    "challenger.training.prompts_per_step=4",
    "challenger.training.grpo.sequences_per_update=16",
    "challenger.votes.samples=4",
    "questions.count=40",
    "questions.per_part=20",
    "labels.questions_per_part=20",
    "labels.votes.samples=6",
    "labels.curation.low=0.0",
    "labels.curation.high=1.0",
    "solver.training.prompts_per_step=4",
    "solver.training.grpo.sequences_per_update=16",
    "learner.checkpoint.every=1",
    "learner.checkpoint.asynchronous=false",
    "evaluation.benchmarks=[arithmetic:2]",
    "run.minimum_free_mb=0",
    "iterations=1",
    "challenger.training.steps=2",
    "solver.training.steps=2",
    "learner.processes=1",
    "tracking.wandb=disabled",
)
NAME = "run"
# What tells the time, or counts attempts, and the hash of the file that holds it.
TIMES = ("seconds", "attempts", "finished", "sha256")
# The log of events, the timeline, the lock and the report: no phase reads them, nor logs.
NOT_READ = ("events.jsonl", "timeline.jsonl", ".lock", "report.html")
OUTCOMES = ("run", "verify", "as it was", "silent", "traceback")


class Reached(Exception):
    """The phase has read its inputs, and would begin to work."""


class _ReadsOnly:
    """Stands for an engine: takes weights, and draws nothing."""

    receivers = (0,)
    context = 1 << 20

    def __init__(self, *_arguments: object) -> None: ...

    def update_weights(self, source: Any, version: int) -> None:
        for _ in source:
            pass

    def prepare(self) -> None: ...

    def generate(self, _requests: object) -> None:
        raise Reached

    def generate_units(self, _units: object, _arrived: object) -> None:
        raise Reached

    def close(self) -> None: ...


class _Soon(StopRequest):
    """Asks to stop after the first part or step."""

    requested = True


@dataclass(frozen=True)
class Case:
    """One damage of one file in one state."""

    state: str
    file: Path
    damage: str


@dataclass(frozen=True)
class Result:
    """What came of it: one of OUTCOMES, and the line that was printed."""

    case: Case
    outcome: str
    line: str


def config_in(folder: Path) -> Config:
    """The configuration of the run in `folder`."""
    config: Config = load_recipe("nano", [*SIZES, f"run.root={folder}", f"run.name={NAME}"])
    return config


def make_states(folder: Path) -> dict[str, Path]:
    """A run in each of its states, by name: stopped in a phase, and finished."""
    config, states = config_in(folder / "work"), {}
    finished = False
    while not finished:
        try:
            run_phases(config, _Soon())
            finished = True
        except Stopped:
            pass
        run = folder / "work" / NAME
        works = [path.parent for path in run.glob("iterations/*/*/work")]
        name = f"in {works[0].name}" if works else "finished"
        states[name] = Path(shutil.copytree(run, folder / name.replace(" ", "-") / NAME, dirs_exist_ok=True))
    return states


def _flip(where: float) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        if data:
            data[min(len(data) - 1, int(where * len(data)))] ^= 1
        path.write_bytes(data)

    return flip


def _digit(path: Path) -> None:
    """Another digit, where the file is text and has one."""
    data = bytearray(path.read_bytes())
    places = [place for place, byte in enumerate(data) if byte in b"12345678"]
    if places:
        data[places[len(places) // 2]] += 1
    path.write_bytes(data)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _swap(path: Path) -> None:
    """The content of the next file of the folder, or none."""
    others = [other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path]
    path.write_bytes(others[0].read_bytes() if others else b"")


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _twice(path: Path) -> None:
    """The last line twice, or the last byte."""
    data = path.read_bytes()
    path.write_bytes(data + data.rstrip(b"\n").rpartition(b"\n")[2] + b"\n")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "first bit": _flip(0.0),
    "middle bit": _flip(0.5),
    "last bit": _flip(0.999),
    "a digit": _digit,
    "zeros": _zeros,
    "cut": _cut,
    "empty": _empty,
    "last line twice": _twice,
    "another file": _swap,
    "gone": Path.unlink,
    "a folder": _folder,
}


def cases(states: dict[str, Path]) -> Iterator[Case]:
    """Every damage of every file that a phase reads or leaves."""
    for state, run in states.items():
        for path in files_below(run):
            file = path.relative_to(run)
            if file.name not in NOT_READ and file.suffix != ".log":
                yield from (Case(state, file, damage) for damage in DAMAGES)


def go_on(run: Path) -> str | None:
    """Go on with a run as far as drawing its first sample; the line of the UserError with which it ends, if any."""
    try:
        with patch.object(context, "EmbeddedEngine", _ReadsOnly), patch.object(context, "ShardedEngine", lambda e: e):
            run_phases(config_in(run.parent), StopRequest())
    except Reached:
        return None
    except UserError as error:
        return str(error)
    return None


def left(run: Path) -> dict[str, Any]:
    """Content of all that phases read, by name, without what tells the time."""
    found: dict[str, Any] = {}
    for path in files_below(run):
        content: Any = path.read_bytes()
        if path.name in ("manifest.json", "state.json"):
            content = {key: value for key, value in json.loads(content).items() if key not in TIMES}
        if path.name not in NOT_READ and path.suffix != ".log":
            found[path.relative_to(run).as_posix()] = content
    return found


def _as_it_was(found: dict[str, Any], undamaged: dict[str, Any]) -> bool:
    """Whether nothing differs. What is lost, or is work that was not there, is what the phase does again."""
    return all(
        undamaged.get(name) == content for name, content in found.items() if name in undamaged or "/work/" not in name
    )


def outcome(case: Case, states: dict[str, Path], undamaged: dict[str, Any], folder: Path) -> Result:
    """Damage a copy of the state, and see."""
    copy = folder / NAME
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(states[case.state], copy)
    DAMAGES[case.damage](copy / case.file)
    if (copy / case.file).is_file() and (copy / case.file).read_bytes() == (
        states[case.state] / case.file
    ).read_bytes():
        return Result(case, "as it was", "no damage: the same bytes")
    try:
        seen = verify_run(RunDirectory.open_existing(copy)).damaged
    except UserError as error:
        seen = (str(error),)
    except Exception as error:
        return Result(case, "traceback", f"verify: {error!r}")
    try:
        line = go_on(copy)
    except Exception as error:
        return Result(case, "traceback", f"run: {error!r}")
    if line is not None:
        return Result(case, "run", line)
    if seen:
        return Result(case, "verify", seen[0])
    return Result(case, "as it was" if _as_it_was(left(copy), undamaged) else "silent", "")


def results(folder: Path, every: int = 1, seed: int = 0) -> list[Result]:
    """Of all cases, or of one in `every`, chosen by `seed`."""
    states = make_states(folder)
    undamaged = {}
    for state, run in states.items():
        copy = folder / "copy" / NAME
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run, copy)
        assert go_on(copy) is None and not verify_run(RunDirectory.open_existing(copy)).damaged
        undamaged[state] = left(copy)
    every_case = list(cases(states))
    chosen = random.Random(seed).sample(every_case, max(1, len(every_case) // every))
    return [outcome(case, states, undamaged[case.state], folder / "copy") for case in chosen]


def table(found: Sequence[Result]) -> str:
    """What noticed what, by kind of file."""
    lines = [f"| file | tried | {' | '.join(OUTCOMES)} |", f"|---|{'---|' * (len(OUTCOMES) + 1)}"]
    counts = Counter((_kind(result.case.file), result.outcome) for result in found)
    for kind in [*sorted({kind for kind, _ in counts}), "all"]:
        row = [sum(n for (k, o), n in counts.items() if kind in (k, "all") and o == out) for out in OUTCOMES]
        lines.append(f"| {kind} | {sum(row)} | {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def _kind(file: Path) -> str:
    if "work" in file.parts:
        return "a checkpoint's " + file.name if "step_" in file.parent.name else f"work/{file.name}"
    return f"model/{file.name}" if file.parent.name == "model" else file.name


def main() -> None:
    """Print the table, and each case that was silent or a traceback."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = results(Path(folder), options.every, options.seed)
    print(table(found))
    for result in found:
        if result.outcome in ("silent", "traceback"):
            print(f"{result.outcome}: {result.case.state}: {result.case.file}: {result.case.damage}: {result.line}")


if __name__ == "__main__":
    main()
