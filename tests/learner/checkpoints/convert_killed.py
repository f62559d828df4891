"""Converts, again and again, and dies by SIGKILL in the middle of it.

Reads attempts from a file of JSON, [after, source, target, template or null], and makes each in a fork of this process,
which has imported everything once. One dies when tensor number `after` is asked for, with 0 it lives. Prints how each
ended: [exit code, tensors read by one that lived, whether the target is there].
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from rzero_mega.learner.checkpoints.conversion import convert
from rzero_mega.learner.checkpoints.conversion.buffers import MergedReader
from rzero_mega.learner.checkpoints.conversion.streaming import StoredWeights
from tools.forking import fork

FILE_BYTES = 40_000


def attempt(after: int, source: Path, target: Path, template: Path | None) -> int:
    """Convert; how many tensors were read."""
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
    convert.convert(source, target, template, file_bytes=FILE_BYTES)
    return count


def in_fork(after: int, source: Path, target: Path, template: Path | None) -> tuple[int, int, bool]:
    """The attempt in a child."""
    ours, theirs = os.pipe()
    child = fork()
    if child == 0:
        code = 1
        try:
            os.write(theirs, b"%d" % attempt(after, source, target, template))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        count = int(pipe.read() or b"0")
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), count, target.exists()


def main() -> None:
    attempts = json.loads(Path(sys.argv[1]).read_text())
    ended = [in_fork(after, Path(s), Path(t), None if x is None else Path(x)) for after, s, t, x in attempts]
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
