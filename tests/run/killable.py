"""A small run with dummy work, made to be killed: each call goes on from whatever the last one left."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from rzero_mega.atomic import atomic_folder, sha256, write_jsonl
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.config import load_config
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import PhaseDirectory, RunDirectory

CONFIG = load_config()
TEXTS = {"prompts.solver": "user: '{question}'"}
TIMES = {"seconds", "attempts", "finished", "sha256"}


def work(path: Path, parts: int, steps: int) -> None:
    """Run a phase of parts, then a phase of steps that starts from its output."""
    with RunDirectory.create_or_open(path, CONFIG, writer=True, texts=TEXTS) as run:
        questions = run.phase(1, PhaseName.QUESTIONS)
        if not questions.is_finished({}):
            _write_questions(questions, parts)
        solver = run.phase(1, PhaseName.SOLVER)
        inputs = {"questions": sha256(questions.output("questions"))}
        if not solver.is_finished(inputs):
            _train(solver, inputs, steps)


def _write_questions(phase: PhaseDirectory, parts: int) -> None:
    phase.begin({})
    for part in sorted({*range(parts)} - {*phase.checked_parts(parts)}):
        phase.write_part(part, (WrittenQuestion(f"{part}-{row}", None) for row in range(50)))
    output = phase.path / "questions.jsonl"
    write_jsonl(output, (question.as_json() for question in phase.read_parts(WrittenQuestion, range(parts))))
    phase.finish({"questions": output}, {"asked": parts * 50})


def _train(phase: PhaseDirectory, inputs: dict[str, str], steps: int) -> None:
    phase.begin(inputs)
    latest = phase.latest_checkpoint()
    start, weights = (latest[0], _load(latest[1])) if latest else (0, b"base")
    phase.truncate_metrics(start)
    for step in range(start + 1, steps + 1):
        weights = hashlib.sha256(weights).digest() * 64
        phase.log_step(step, {"loss": weights[0] / 256})
        staging = phase.checkpoint_staging(step)
        for name, data in (("weights", weights), ("moments", weights[::-1])):
            (staging / name).write_bytes(data)
        if step == steps - 1:
            with atomic_folder(phase.path / "model") as model:
                (model / "weights").write_bytes(weights)
        phase.commit_checkpoint(step)
    phase.finish({"model": phase.path / "model"}, {"reward_mean": 1.0})


def _load(checkpoint: Path) -> bytes:
    weights = (checkpoint / "weights").read_bytes()
    assert (checkpoint / "moments").read_bytes() == weights[::-1]
    return weights


def content(path: Path) -> dict[str, object]:
    """Everything a finished run holds, by relative path, without what tells the time."""
    found: dict[str, object] = {}
    for file in sorted((path / "iterations").rglob("*")):
        if file.is_file():
            data = file.read_bytes()
            name = file.relative_to(path).as_posix()
            is_manifest = file.name == "manifest.json"
            found[name] = {k: v for k, v in json.loads(data).items() if k not in TIMES} if is_manifest else data
    return found


def die_at(path: Path, boundary: int) -> None:
    """SIGKILL this process right before its n-th change to the run directory (opening for writing, renaming, ...)."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"):
            return
        if event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR):
            return
        if not str(arguments[0]).startswith(str(path)) and not isinstance(arguments[0], int):
            return
        seen += 1
        if seen == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@contextlib.contextmanager
def warm_child(path: Path, parts: int, steps: int, boundary: int | None = None) -> Iterator[int]:
    """Fork a child that does the work and exits with 0; yields its process id. 1 means an error, printed to stderr."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if boundary is not None:
                die_at(path, boundary)
            work(path, parts, steps)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
