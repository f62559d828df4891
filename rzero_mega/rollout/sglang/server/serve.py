"""The program that a server runs: `python -m rzero_mega.rollout.sglang.server.serve ARGUMENTS`, SGLang's own ones.

It is SGLang's own server. What is added: it takes its API key from the environment instead of the command line, and it
dies with the process that started it.

SGLang starts its schedulers as fresh processes, which import this module again before anything else, so each of them
also dies with the process that started it, from its first moment.
"""

from __future__ import annotations

import os
import sys

from rzero_mega.lifetime import die_with_parent
from rzero_mega.rollout.sglang.server.command import API_KEY, Secret

die_with_parent()


def main(arguments: list[str]) -> None:
    """Serve until a signal ends the server."""
    from sglang.launch_server import run_server
    from sglang.srt.plugins import load_plugins
    from sglang.srt.server_args import prepare_server_args
    from sglang.srt.utils import kill_process_tree

    load_plugins()
    server_args = prepare_server_args(arguments)
    key = os.environ.pop(API_KEY, None)
    if key:
        server_args.api_key = Secret(key)
    try:
        run_server(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


if __name__ == "__main__":
    main(sys.argv[1:])
