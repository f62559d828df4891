"""Entry of the command `rzero-mega`, and of `python -m rzero_mega`.

Light, since what the command imports takes a good part of a second: until then an interruption ends it in one line.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """Import the command and run it."""
    signal.signal(signal.SIGINT, _leave)
    from rzero_mega.cli import main as command

    command()


def _leave(_number: int, _frame: FrameType | None) -> None:
    # Nothing has begun. An exception would be raised inside an import, whose traceback Python prints.
    if "RANK" not in os.environ:
        os.write(2, b"rzero-mega: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
