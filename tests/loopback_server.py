"""HTTP servers for tests: on loopback, on a free port, one thread per connection."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LoopbackServer(ThreadingHTTPServer):
    """Takes hundreds of connections at once, and is silent about clients that hang up.

    A connection that finds the queue full comes again after seconds, which a client that waits ten of them for a
    connection may not live to see on a busy machine. And a hundred threads that print a traceback at the same time each
    parse the source for it, which CPython 3.11 does not survive when another thread parses some too
    ("AST constructor recursion depth mismatch"): pytest itself, which is about to show why a test failed.
    """

    request_queue_size = 1024

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong in a handler."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Address of a server with these handlers."""
    with LoopbackServer(handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()
