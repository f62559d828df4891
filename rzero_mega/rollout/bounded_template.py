"""Chat templates are programs: one may run on for ever, and on certain questions only.

Each rendering is held to a number of the template's lines, to time on a processor and to a length of its text. What a
single expression allocates on the way is bounded by the inspection before the start alone, on its own questions.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

MOST_LINES = 100_000
MOST_SECONDS = 10.0
MOST_CHARACTERS = 1_000_000
# What jinja2 calls the file of a template that was given as text.
_FILE = "<template>"


class TemplateRunsOn(Exception):
    """A limit is exceeded; the text says which."""


@contextmanager
def bounded_rendering() -> Iterator[None]:
    """Inside, templates that this thread renders raise TemplateRunsOn where they exceed their lines or seconds."""
    lines, end = 0, time.thread_time() + MOST_SECONDS

    def in_template(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines > MOST_LINES:
                raise TemplateRunsOn(f"runs through more than {MOST_LINES:,} of its lines")
            if time.thread_time() > end:
                raise TemplateRunsOn(f"takes more than {MOST_SECONDS:g} s")
        return in_template

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        return in_template(frame, event, argument) if frame.f_code.co_filename == _FILE else None

    usual = sys.gettrace()  # a debugger's, or that of coverage
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(usual)


def check_length(text: str) -> None:
    """TemplateRunsOn if the text is too long for a prompt."""
    if len(text) > MOST_CHARACTERS:
        raise TemplateRunsOn(f"writes more than {MOST_CHARACTERS:,} characters")
