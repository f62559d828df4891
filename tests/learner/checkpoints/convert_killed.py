"""Converts and dies by SIGKILL in the middle of it.

Usage: `python -m tests.learner.checkpoints.convert_killed AFTER SOURCE TARGET [TEMPLATE]`. It dies when tensor number
AFTER is asked for. With AFTER 0 it lives, and prints how many tensors it read.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from rzero_mega.learner.checkpoints.conversion import convert
from rzero_mega.learner.checkpoints.conversion.buffers import MergedReader
from rzero_mega.learner.checkpoints.conversion.streaming import StoredWeights

FILE_BYTES = 40_000


def main() -> None:
    after, (source, target, *template) = int(sys.argv[1]), map(Path, sys.argv[2:])
    count = 0

    def counted(read: Any) -> Any:
        def wrapper(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == after:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(*arguments)

        return wrapper

    MergedReader.read = counted(MergedReader.read)  # type: ignore[method-assign]
    StoredWeights.read = counted(StoredWeights.read)  # type: ignore[method-assign]
    convert.convert(source, target, template[0] if template else None, file_bytes=FILE_BYTES)
    print(count)


if __name__ == "__main__":
    main()
