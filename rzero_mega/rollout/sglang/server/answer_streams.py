"""Answers of one SGLang server, each as soon as its sample is drawn: /generate as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx
import orjson

from rzero_mega.weights.transports.protocol import ServerError

BLANK_LINE = b"\n\n"
DATA = b"data:"
END = b"[DONE]"
JSON = {"Content-Type": "application/json"}

Failure = Callable[[str], ServerError]


class AnswerStreams:
    """Calls of one server's /generate, many at the same time, all of one event loop. To be closed."""

    def __init__(self, http: httpx.AsyncClient, failure: Failure) -> None:
        """`failure` makes of a reason the error that names the server."""
        self._http, self._failure = http, failure

    async def answers(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """What the server says about the samples of one body, which asks for a stream, until it has said all.

        Takes as long as it takes. Raises ServerError if the server fails, or breaks off before the end.
        """
        data = b""
        try:
            async with self._http.stream("POST", "/generate", content=orjson.dumps(body), headers=JSON) as response:
                if not response.is_success:
                    text = (await response.aread()).decode(errors="replace")
                    raise self._failure(f"HTTP {response.status_code}: {text}")
                async for data in _data_of_events(response.aiter_raw()):
                    if data != END:
                        yield self._event(data)
        except httpx.HTTPError as error:
            raise self._failure(str(error) or type(error).__name__) from error
        if data != END:
            raise self._failure("the answers broke off")

    async def abort_all(self) -> None:
        """Have the server abort everything: each answer ends with what it has so far and the finish reason "abort"."""
        await self._abort({"abort_all": True})

    async def abort(self, name: str) -> None:
        """As `abort_all`, of the one sample whose request has that name, if the server has it."""
        await self._abort({"rid": name})

    async def _abort(self, what: Mapping[str, Any]) -> None:
        try:
            response = await self._http.post("/abort_request", content=orjson.dumps(what), headers=JSON)
        except httpx.HTTPError as error:
            raise self._failure(str(error) or type(error).__name__) from error
        if not response.is_success:
            raise self._failure(f"abort_request: HTTP {response.status_code}: {response.text}")

    async def close(self) -> None:
        """Close the connections; servers then drop what is still asked over them."""
        await self._http.aclose()

    def _event(self, data: bytes) -> dict[str, Any]:
        try:
            event = orjson.loads(data)
        except ValueError as error:
            raise self._failure(f"an event that is no JSON: {data[:200]!r}") from error
        if not isinstance(event, dict):
            raise self._failure(f"an event that is no object: {data[:200]!r}")
        if "error" in event:
            raise self._failure(str(event["error"]))
        return event


async def _data_of_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of server-sent events, of one line each, as SGLang writes them; chunks may end anywhere."""
    held: list[bytes] = []
    async for chunk in chunks:
        held.append(chunk)
        # The line's two ends may lie in two chunks.
        if BLANK_LINE not in chunk and not chunk.startswith(BLANK_LINE[:1]):
            continue
        *events, rest = b"".join(held).split(BLANK_LINE)
        held = [rest]
        for event in events:
            if event.startswith(DATA):
                yield event[len(DATA) :].strip()
