"""The one exception that is meant for the person at the terminal."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend: one line that names the key, file or tensor, and what to do.

    The command line prints the message alone and exits with status 2. Any other exception is a bug: it keeps its
    traceback.
    """
