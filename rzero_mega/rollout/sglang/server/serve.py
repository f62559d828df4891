"""The program that a server runs: `PYTHON -P serve.py ARGUMENTS`, SGLang's own ones.

It is SGLang's own server. What is added: it takes its API key from the environment instead of the command line, it
dies with the process that started it, and one that speaks to other programs than a run has no routes but TEXT_ROUTES.

PYTHON may belong to an environment that holds SGLang and not this package. So this file makes the package importable
from where it lies, without the folder around it, which is the learner's environment; what it imports of the package
needs the standard library alone.

SGLang starts its schedulers as fresh processes, which run this file again before anything else, so each of them also
dies with the process that started it, from its first moment.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[3]


def _import_package() -> None:
    where = PACKAGE / "__init__.py"
    spec = importlib.util.spec_from_file_location(PACKAGE.name, where, submodule_search_locations=[str(PACKAGE)])
    assert spec is not None and spec.loader is not None
    sys.modules[PACKAGE.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[PACKAGE.name])


if PACKAGE.name not in sys.modules:
    _import_package()

from rzero_mega.lifetime import die_with_parent  # noqa: E402
from rzero_mega.rollout.sglang.server.command import API_KEY, TEXT_API, Secret  # noqa: E402

die_with_parent()

TEXT_ROUTES = (
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/models/{model:path}",
    "/health",
    "/ready",
)
"""What a server of OpenAI's protocol answers. SGLang's other routes load weights, write files and stop generations."""


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
    if os.environ.pop(TEXT_API, None):
        from sglang.srt.entrypoints.http_server import app

        # The rest is gone, not forbidden: what is not there can't be reached with the key either.
        app.router.routes[:] = [route for route in app.router.routes if getattr(route, "path", None) in TEXT_ROUTES]
    try:
        run_server(server_args)
    finally:
        kill_process_tree(os.getpid(), include_parent=False)


if __name__ == "__main__":
    main(sys.argv[1:])
