"""What others wrote is shown on the terminal and does nothing there, whatever the terminal's encoding."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table
from typer.testing import CliRunner

from rzero_mega import cli
from rzero_mega.cluster.show import show_jobs
from rzero_mega.config import load_config
from rzero_mega.lifetime import module_command
from rzero_mega.run import RunDirectory
from rzero_mega.run.job import Ended, JobFolder, JobPlace, Leader
from rzero_mega.terminal import in_one_line, new_console, say, shown

ACTIVE = {
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "\x1b[2J": "\\x1b[2J",
    "\x1b[1A\x1b[K": "\\x1b[1A\\x1b[K",
    "\x1b]8;;http://x\x1b\\": "\\x1b]8;;http://x\\x1b\\",
    "\x1bP+q\x1b\\": "\\x1bP+q\\x1b\\",
    "\x9b31m": "\\x9b31m",
    "safe\rspoof": "safe\\rspoof",
    "a\x08b": "a\\x08b",
    "a\x00b": "a\\x00b",
    "\u202eevil\u202c": "\\u202eevil\\u202c",
    "a\u2066b\u200bc": "a\\u2066b\\u200bc",
    "a\u2028b\x85c": "a\\u2028b\\x85c",
    "\udce9": "\\udce9",
    "\ufeffa": "\\ufeffa",
    "\U000e0041": "\\U000e0041",
}


@pytest.mark.parametrize("text", ACTIVE)
def test_what_would_act_is_written_out(text: str) -> None:
    assert shown(text) == ACTIVE[text]
    assert shown(shown(text)) == shown(text)


@pytest.mark.parametrize("text", ["", "a b", "a\n\tb\n", "é日本·→🙂", "a[bold]b", ":smile:", "a\xa0b", "\\x1b"])
def test_what_does_nothing_stays(text: str) -> None:
    assert shown(text) == text


def test_colours_of_libraries_go_and_what_they_hide_is_seen() -> None:
    assert shown("\x1b[1;31mred\x1b[0m \x1b[8mhidden\x1b[m\r\n") == "red hidden\n"


def test_an_error_is_one_line_whatever_it_quotes() -> None:
    assert in_one_line("a\nb\r\nc\x85d\u2028e\x1b[2J") == "a b c d e\\x1b[2J"


def test_tables_and_bars_show_texts_as_they_are() -> None:
    file = io.StringIO()
    terminal = new_console(file=file, width=100, force_terminal=True)
    table = Table(title="run a[bold]b \x1b]0;x\x07")
    table.add_column("[red]h")
    table.add_row("c[/red]d \x1b[2J \u202ee :smile:")
    terminal.print(table)
    terminal.print("[bold]plain[/bold] \x1b[5n")
    with Progress(TextColumn("{task.description}", markup=False), console=terminal) as bars:
        bars.add_task("t[bold]u \x1b]52;c;x\x07", total=1)
    text = file.getvalue()
    for whole in ("run a[bold]b", "[red]h", "c[/red]d", "[bold]plain[/bold] \\x1b[5n", "t[bold]u"):
        assert whole in text
    # Rich's own sequences are there: those of others are not.
    assert not any(active in text for active in ("\x1b]", "\x07", "\x1b[2J", "\x1b[5n", "\u202e"))


def hostile_run(root: Path) -> Path:
    config = load_config(["nano"], [f"run.root={root}", "run.name=x", "run.minimum_free_mb=0"])
    run = RunDirectory.create_or_open(root / "x", config, writer=True)
    run.close()
    folder = JobFolder(run.path, JobPlace("17", 0, 0, 1, "n1"))
    folder.publish_leader(Leader("host", 1))
    (folder.path / "rank-0000.log").write_text("\x1b]0;x\x07 a[bold]b \x1b[31mred\x1b[0m\n")
    folder.publish_end(Ended(1, "line\n\x1b[2J a[bold]b"))
    return run.path


def test_status_and_logs_of_somebody_s_run(tmp_path: Path) -> None:
    path = hostile_run(tmp_path)
    shown_logs = CliRunner().invoke(cli.app, ["logs", str(path)])
    assert shown_logs.output == "\\x1b]0;x\\x07 a[bold]b red\n"
    file = io.StringIO()
    show_jobs(new_console(file=file, width=200), path, [])
    assert "last job ended with code 1: line \\x1b[2J a[bold]b" in file.getvalue() and "\x1b" not in file.getvalue()


def run_command(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    command = module_command("rzero_mega", *arguments)
    return subprocess.run(command, cwd=folder, env=environment | variables, capture_output=True)


@pytest.mark.parametrize(
    "variables",
    [
        {"LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252:strict"},
    ],
    ids=lambda variables: "-".join(variables.values()),
)
def test_a_terminal_of_few_signs_gets_others_and_no_traceback(variables: dict[str, str], tmp_path: Path) -> None:
    hostile_run(tmp_path)
    done = run_command(tmp_path, "status", "x", **variables)
    assert done.returncode == 0, done.stderr
    assert b"last job ended with code 1" in done.stdout and b"x - stopped" in done.stdout.replace(b"\xb7", b"-")
    wrong = run_command(tmp_path, "config", "nano", "日本\x1b[2J=1", **variables)
    assert wrong.returncode == 2 and wrong.stderr.startswith(b"rzero-mega: ") and wrong.stderr.count(b"\n") == 1
    assert b"\x1b" not in wrong.stderr and b"Traceback" not in wrong.stderr


def test_what_is_said_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2J", end="")
    say("b\u202e", error=True)
    assert capsys.readouterr() == ("a\\x1b[2J", "b\\u202e\n")
