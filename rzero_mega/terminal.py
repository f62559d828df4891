"""The terminal, in one place: what models, files and other people wrote is shown there, and does nothing.

Escape sequences, line ends in disguise and signs that turn the order of letters are written out as Python escapes.
Nothing is taken for markup. Where the encoding lacks a sign, another one stands for it.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

# Colours do no harm, and libraries write them into logs: they go without a trace.
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
# Control, format (bidirectional ones among them), surrogates, separators of lines and paragraphs.
_ACTIVE = ("Cc", "Cf", "Cs", "Zl", "Zp")
_PLAIN_WHITESPACE = "\n\t"
_ALIKE = {"·": "-", "–": "-", "—": "-", "→": "->", "…": "...", "×": "x", "±": "+-", "≥": ">=", "≤": "<=", "’": "'"}
_ERRORS = "rzero_mega.alike"


def shown(text: str) -> str:
    """The text as a terminal may have it; line feeds and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    text = _COLOUR.sub("", text).replace("\r\n", "\n")
    return "".join(_shown(character) for character in text)


def in_one_line(text: str) -> str:
    """The text without line breaks of any kind, as a terminal may have it."""
    return shown(" ".join(text.split()))


def say(text: str = "", error: bool = False, end: str = "\n") -> None:
    """Print on standard output, or on standard error, at once."""
    print(shown(text), file=sys.stderr if error else sys.stdout, end=end, flush=True)


def new_console(**options: Any) -> Console:
    """Rich's console, with its options; texts are no markup, and what they hold is shown."""
    return _Console(**{"markup": False, "emoji": False, "highlight": False, **options})


def prepare_streams() -> None:
    """Let this process print any text, whatever the encoding of its terminal."""
    codecs.register_error(_ERRORS, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


class _Console(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            # What has `control` moves the cursor, for bars and tables, and is rich's own.
            yield segment if segment.control else Segment(shown(segment.text), segment.style)


def _shown(character: str) -> str:
    if character in _PLAIN_WHITESPACE or unicodedata.category(character) not in _ACTIVE:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_ALIKE.get(sign) or sign.encode("unicode_escape").decode("ascii") for sign in missing), error.end
