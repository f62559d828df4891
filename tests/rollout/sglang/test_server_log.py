from __future__ import annotations

import pytest

from rzero_mega.rollout.sglang.server.server_log import decisive_line, error_line

NOISE = "[2026-01-01 00:00:00] Ignore import error when loading sglang.srt.models.mamba: cannot import name 'x'\n"
TRACEBACK = """Traceback (most recent call last):
  File "scheduler.py", line 1, in run
    raise RuntimeError("Error: not this line")
safetensors.SafetensorError: header too large

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "loader.py", line 9, in load
OSError: /models/m is damaged
[2026-01-01 00:00:01] Received sigquit from a child process. It usually means the child failed.

"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (NOISE + TRACEBACK, "OSError: /models/m is damaged"),
        (NOISE + "usage: …\nsglang serve: error: unrecognized arguments: --x\n", "sglang serve: error: unrecognized"),
        (NOISE + "[t] ERROR:    [Errno 98] x: address already in use\n" + TRACEBACK, "address already in use"),
        (
            NOISE + "[t] Subprocess scheduler_0 (pid=7) crashed with exit code -9. …\n[t] more\n",
            "scheduler_0 (pid=7) crashed",
        ),
        (NOISE + "[t] Killed\n\n", "[t] Killed"),
        ("", "its log is empty"),
    ],
)
def test_the_line_that_says_why_a_server_failed(log: str, line: str) -> None:
    assert line in decisive_line(log)


def test_the_line_is_fit_for_a_terminal() -> None:
    line = decisive_line("ValueError: \x1b[31m" + "x" * 1000 + "\x07\n")
    assert line.isprintable()
    assert len(line) <= 300


def test_a_log_without_an_error_has_no_line_that_says_why() -> None:
    assert error_line("[t] No chat template found\n[t] INFO: 127.0.0.1\n") is None
    assert error_line(TRACEBACK + "[t] more\n") == "OSError: /models/m is damaged"
