"""A server with OpenAI's chat completions that answers and fails as it is told: for faults, which no real one has."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback_server import serving


@dataclass
class Reply:
    """What is sent back. `length` is what the header says where the body is to be cut off; `drip_s` is per byte."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    drip_s: float = 0.0


def said(text: str | None, finish: str = "stop", tokens: int | None = 7) -> Reply:
    """A well-formed answer."""
    answer: dict[str, Any] = {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": finish}]}
    return Reply(body=json.dumps(answer if tokens is None else {**answer, "usage": {"total_tokens": tokens}}).encode())


Answer = Callable[[dict[str, Any]], Reply]


class ChatServer:
    """`replies` are sent first, one each; then `answer` is asked. `asked` are the bodies, `keys` the authorisations."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: list[Reply] = []
        self.answer: Answer = lambda body: said("42")
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.paths: list[str] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()

    def users(self) -> list[str]:
        """The user's message of every request."""
        return [body["messages"][-1]["content"] for body in self.asked]


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """The server on the loopback interface."""
    chat = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with chat.lock:
                chat.asked.append(body)
                chat.keys.append(self.headers.get("Authorization"))
                chat.paths.append(self.path)
                reply = chat.replies.pop(0) if chat.replies else None
            self._send(reply or chat.answer(body))

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, text in reply.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
            self.end_headers()
            if not reply.drip_s:
                self.wfile.write(reply.body)
                return
            for byte in reply.body:
                self.wfile.write(bytes([byte]))
                if chat.closing.wait(reply.drip_s):
                    return

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as url:
        chat.url = f"{url}/v1"
        try:
            yield chat
        finally:
            chat.closing.set()
