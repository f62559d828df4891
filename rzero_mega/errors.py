"""The one exception that is meant for the person at the terminal, and what it quotes of others."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: one line that names the key, file or tensor, and what to do.

    The command line prints the message alone and exits with status 2. Any other exception is a bug: it keeps its
    traceback.
    """

    told_elsewhere = False
    """Whether another process prints the line: then this one says nothing."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none: what fits into a UserError."""
    message = str(error).strip()
    return message.splitlines()[0] if message else type(error).__name__
