"""An HTTP server that gives the answers it is told to: what a real SGLang server does only when it is broken."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tests.loopback_server import serving


class FaultyServer:
    """`answers` maps a path to (status, content type, body); `seen` are (method, path, authorization, body)."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str, bytes]] = {}
        self.seen: list[tuple[str, str, str | None, bytes]] = []
        self.silent = threading.Event()
        self.url = ""

    def json(self, path: str, body: str, status: int = 200) -> None:
        self.answers[path] = (status, "application/json", body.encode())


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    """A server on the loopback interface. While `silent` is set it takes requests and does not answer."""
    faulty = FaultyServer()
    closing = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            faulty.seen.append((self.command, self.path, self.headers.get("Authorization"), body))
            if faulty.silent.is_set():
                closing.wait()
                return
            status, kind, content = faulty.answers.get(self.path, (404, "text/plain", b"nothing here"))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as faulty.url:
        try:
            yield faulty
        finally:
            closing.set()
