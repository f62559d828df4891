"""What an SGLang server's log says about a failure."""

from __future__ import annotations

import re

from rzero_mega.rollout.sglang.server.client import one_line

PORT_TAKEN = "address already in use"
# "ValueError: …", "sglang serve: error: …", "[time] ERROR:    …", "[time] Subprocess … crashed …": as tracebacks,
# argparse, uvicorn and SGLang write them.
_ERROR = re.compile(r"[\w.]*(Error|Exception): |[\w ]+: error: |\[[^]]*\] (ERROR: |Subprocess .* crashed)")


def decisive_line(log: str) -> str:
    """The most telling line about why the server failed, ready to be printed.

    That is the last one that states an error: what comes before led to it. A port that is taken is said earlier, since
    the server tries to go on.
    """
    lines = [line for line in log.splitlines() if line.strip()]
    taken = [line for line in lines if PORT_TAKEN in line]
    return one_line((taken or _errors(lines) or lines or ["its log is empty"])[-1])


def error_line(log: str) -> str | None:
    """The last line that states an error, ready to be printed; None if none does."""
    errors = _errors(log.splitlines())
    return one_line(errors[-1]) if errors else None


def _errors(lines: list[str]) -> list[str]:
    return [line for line in lines if _ERROR.match(line)]
