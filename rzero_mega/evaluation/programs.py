"""Programs that models write to answer questions, and what they print.

They are run by Monty (pydantic-monty), an interpreter of a part of Python in Rust that has no way to the outside:
processes of its own pool, which are killed when they hang or crash, with bounds on time, memory and depth. There is no
network, no file, no environment; the clock stands still and random numbers are always the same ones, so that a program
prints the same whenever it is run. Nothing of a program is evaluated in this process.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rzero_mega.errors import UserError
from rzero_mega.grading.text.extraction import MAX_ANSWER_CHARS

if TYPE_CHECKING:
    from pydantic_monty import Monty

SECONDS = 2.0
"""Of running. A program that is that slow has no answer; whether it is may hang on the machine, as with grading."""

MEMORY_BYTES = 64 * 2**20
DEPTH = 200
MAX_PROGRAM_CHARS = 20_000
"""A longer one is a runaway sample and is not run."""

# Time over the limit until a worker that doesn't notice it is killed.
_GRACE_S = 1.0
_SESSIONS_PER_WORKER = 200
_FENCE = "```"
_LANGUAGES = ("", "python", "py", "python3")
_INSTALL = "install rzero_mega[programs] (pydantic-monty has wheels for Linux, macOS and Windows), or set it to 0"


def written_program(response: str) -> str | None:
    """The last whole fenced block of Python in a response; None if there is none, or it is too long to be meant."""
    program: str | None = None
    block: list[str] | None = None
    python = False
    for line in response.splitlines():
        mark = line.strip()
        if not mark.startswith(_FENCE):
            if block is not None:
                block.append(line)
        elif block is None:
            block, python = [], mark.removeprefix(_FENCE).strip().lower() in _LANGUAGES
        else:
            program, block = "\n".join(block) if python else program, None
    return program if program is not None and len(program) <= MAX_PROGRAM_CHARS else None


class Sandbox:
    """Where programs are run; a context manager. UserError on entry if there is no interpreter here."""

    def __init__(self, workers: int = 0) -> None:
        """At most so many programs run at a time; 0: one for each processor that this process may use."""
        self._workers = workers or len(os.sched_getaffinity(0))
        self._pool: Monty | None = None

    def __enter__(self) -> Sandbox:
        self._pool = _pool(self._workers).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(*error)

    def answers(self, programs: Sequence[str | None]) -> list[str | None]:
        """The last line that each program prints; None where it fails, prints nothing, or there is no program."""
        with ThreadPoolExecutor(self._workers) as threads:
            return list(threads.map(self._answer, programs))

    def _answer(self, program: str | None) -> str | None:
        from pydantic_monty import MontyError, ResourceLimits

        if program is None or self._pool is None:
            return None
        printed = _Printed()
        limits = ResourceLimits(
            max_feed_duration_secs=SECONDS,
            max_memory=MEMORY_BYTES,
            max_recursion_depth=DEPTH,
            max_suspensions=1,
            max_total_sleep_secs=0.0,
        )
        policy: Any = {"datetime": datetime(2000, 1, 1), "sleep": "zero", "random_start": {"seed": 0}}
        try:
            with self._pool.checkout(limits=limits, os_policy=policy) as session:
                session.feed_run(program, print_callback=printed.take)
        except MontyError:
            return None
        return printed.last_line()


def check_sandbox() -> None:
    """UserError, for `labels.panel.programs`, if programs can't be run here."""
    with Sandbox(workers=1) as sandbox:
        if sandbox.answers(["print(6 * 7)"]) != ["42"]:
            raise UserError(f"labels.panel.programs: the interpreter that runs them gives wrong answers; {_INSTALL}")


def _pool(workers: int) -> Monty:
    try:
        from pydantic_monty import Monty
    except ImportError:
        raise UserError(
            f"labels.panel.programs: takes pydantic-monty, which is not installed here; {_INSTALL}"
        ) from None
    try:
        return Monty(
            max_processes=workers,
            request_timeout=SECONDS + 2 * _GRACE_S,
            max_checkouts_per_worker=_SESSIONS_PER_WORKER,
            feed_duration_limit_grace=_GRACE_S,
        )
    except (RuntimeError, OSError) as error:
        raise UserError(f"labels.panel.programs: the interpreter that runs them can't be started ({error})") from None


class _Printed:
    """The end of what a program prints, however much that is."""

    def __init__(self) -> None:
        self._text = ""

    def take(self, _stream: str, text: str) -> None:
        # A line of this length is no answer any more, with its end or without.
        self._text = (self._text + text)[-2 * MAX_ANSWER_CHARS :]

    def last_line(self) -> str | None:
        lines = [line.strip() for line in self._text.splitlines() if line.strip()]
        return lines[-1] if lines and len(lines[-1]) <= MAX_ANSWER_CHARS else None
