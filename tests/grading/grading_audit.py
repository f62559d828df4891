"""Notes what Python's audit events (PEP 578) show that grading must never do; also a task for workers, `decide`.

Noted are code that comes from no installed file, programs started other than our workers, and files opened to write.
Left out is what modules execute while they are imported (dataclasses and named tuples make their methods from text).
"""

from __future__ import annotations

import os
import sys
from typing import Any

LOG = "RZERO_MEGA_AUDIT_LOG"
TASK = "tests.grading.grading_audit:decide"
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn", "socket.connect")
REMOVALS = ("os.remove", "os.rename", "os.mkdir", "os.truncate", "shutil.rmtree", "os.link", "os.symlink")


def watch() -> None:
    """From now on note such events of this process in the file that the environment names. There is no way back."""
    log = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if forbidden(event, arguments) and not importing():
            os.write(log, f"{event} {arguments!r}"[:500].replace("\n", " ").encode("utf-8", "backslashreplace") + b"\n")

    sys.addaudithook(hook)


def forbidden(event: str, arguments: tuple[Any, ...]) -> bool:
    if event in STARTS or event in REMOVALS:
        return True
    if event == "exec":
        return not os.path.isfile(getattr(arguments[0], "co_filename", ""))
    if event == "compile":
        return not os.path.isfile(str(arguments[1]))
    if event == "open":
        path, mode, flags = arguments
        return path != os.devnull and bool(flags & (os.O_WRONLY | os.O_RDWR) or (mode and set(mode) & set("wax+")))
    if event == "subprocess.Popen":
        return list(arguments[1])[:4] != [sys.executable, "-P", "-m", "rzero_mega.grading.workers.worker"]
    return False


def importing() -> bool:
    frame: Any = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def decide(a: str, b: str) -> bool:
    from rzero_mega.grading.workers.task import decide as task

    return task(a, b)


if sys.argv[4:] == [TASK]:  # in a worker, whose program imports the task before it serves pairs
    import rzero_mega.grading.workers.task  # noqa: F401

    watch()
