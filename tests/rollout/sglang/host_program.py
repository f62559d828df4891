"""A second node, which serves requests for servers until its standard input ends.

Usage: ``python -m tests.rollout.sglang.host_program FOLDER NODE``.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from pathlib import Path

from rzero_mega.rollout.sglang.nodes.host import ServerHost


def main(folder: Path, node: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    host = ServerHost(folder, node, os.environ.get("RZERO_SGLANG_API_KEY"))
    try:
        while not select.select([sys.stdin], [], [], 0.2)[0]:
            host.poll()
    finally:
        host.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
