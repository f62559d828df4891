"""A program that starts a server, tells its processes and then waits: for tests that end it.

Usage: ``python -m tests.rollout.sglang.server_parent MODEL LOG MOMENT``. MOMENT is "starting" (the server
has just started others) or "ready".
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.process import ServerProcess


def main(model: Path, log: Path, moment: str) -> None:
    server = ServerProcess.start(ServerSpec(model, port=0), log)
    try:
        if moment == "ready":
            server.wait_ready(300)
        while len(server.pids()) < 3 and server.alive():
            time.sleep(0.05)
        print(*server.pids(), flush=True)
        sys.stdin.read()
    finally:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
