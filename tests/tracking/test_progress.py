"""Progress: plain lines without a terminal, bars with one, silence on other ranks."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
from rich.console import Console

from rzero_mega.tracking import Progress
from rzero_mega.tracking.status import run_status
from tests.tracking.synthetic import write_synthetic_run


def _lines(writer: bool = True, terminal: bool = False, steps: int = 3, done: int = 0) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=120)
    with Progress("nano", phases=2, writer=writer, console=console) as progress:
        progress.skip(1, "challenger")
        with progress.phase(1, "solver", steps, done) as phase:
            for step in range(done + 1, steps + 1):
                with phase.work("rollout [/]", 10) as count:
                    count(10)
                phase.advance(step, reward=step / 4, kl=None)
        logging.getLogger("rzero_mega.room").info("a [bold] word")
    return stream.getvalue().splitlines()


def test_without_a_terminal_there_is_a_line_per_step() -> None:
    lines = _lines()
    assert lines[:3] == [
        "iteration 1 · challenger · finished before",
        "iteration 1 · solver · 1/3 · reward 0.25",
        "iteration 1 · solver · 2/3 · reward 0.5",
    ]
    assert lines[4].startswith("iteration 1 · solver · finished in ")
    assert lines[5:] == ["a [bold] word"]


def test_without_a_terminal_a_long_phase_stays_short_and_tells_its_end() -> None:
    lines = _lines(steps=10_000)
    assert len(lines) < 40 and any("10000/10000" in line for line in lines)


def test_a_resumed_phase_goes_on_from_its_step() -> None:
    assert [line for line in _lines(done=2) if "reward" in line] == ["iteration 1 · solver · 3/3 · reward 0.75"]


def test_other_ranks_print_nothing() -> None:
    assert _lines(writer=False) == []


def test_log_records_of_the_package_are_shown_while_it_is_open_and_then_go_where_they_went() -> None:
    stream, package, other = io.StringIO(), logging.getLogger("rzero_mega"), logging.getLogger("another")
    before = (package.handlers[:], package.level)
    with Progress("nano", 1, console=Console(file=stream, width=120)):
        logging.getLogger("rzero_mega.room").warning("%s ended", "a server")
        logging.getLogger("rzero_mega.room").debug("details")
        other.warning("of another")
    package.warning("too late")
    assert stream.getvalue() == "a server ended\n"
    assert (package.handlers, package.level) == before


def test_a_terminal_shows_bars() -> None:
    text = "\n".join(_lines(terminal=True))
    assert "iteration 1 · solver" in text and "rollout" in text and "3/3" in text


def test_an_error_inside_a_phase_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), Progress("nano", 1) as progress, progress.phase(1, "solver", 3):
        raise ZeroDivisionError


def test_the_table_shows_what_each_iteration_brought(tmp_path: Path) -> None:
    stream = io.StringIO()
    with (
        write_synthetic_run(tmp_path / "run") as run,
        Progress("n", 1, console=Console(file=stream, width=80)) as progress,
    ):
        progress.table(run_status(run))
    text = stream.getvalue()
    assert "base" in text and "35.1 %" in text and "47.9 %" in text and "label accuracy" in text
    assert "flawed" in text and "1.0 %" in text
    assert max(len(line) for line in text.splitlines()) <= 80
