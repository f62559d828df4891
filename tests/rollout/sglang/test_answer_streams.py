"""Answers as a stream of events: read wherever its pieces end, and what a broken server makes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from rzero_mega.rollout.sglang.server.answer_streams import AnswerStreams
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.weights.transports.protocol import ServerError
from tests.rollout.sglang.faulty_server import FaultyServer, faulty_server
from tests.rollout.sglang.measures import free_port

EVENTS = b'data: {"index": 0}\n\ndata: {"index": 1, "text": "a\\n\\nb"}\n\n'
END = b"data: [DONE]\n\n"
READ = [{"index": 0}, {"index": 1, "text": "a\n\nb"}]


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


async def read(streams: AnswerStreams, body: Any = None) -> list[dict[str, Any]]:
    try:
        return [event async for event in streams.answers(body or {})]
    finally:
        await streams.close()


def error_of(client: SglangClient) -> str:
    with pytest.raises(ServerError) as caught:
        asyncio.run(read(client.streams()))
    message = str(caught.value)
    assert message.startswith(f"{client.name}: generate: ")
    assert message.isprintable()
    return message


def in_pieces(content: bytes, size: int) -> AnswerStreams:
    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for start in range(0, len(content), size):
                yield content[start : start + size]

    async def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Pieces())

    http = httpx.AsyncClient(base_url="http://server", transport=httpx.MockTransport(answer))
    return AnswerStreams(http, ServerError)


def test_a_call_is_sent_with_the_key_and_its_events_are_read(faulty: FaultyServer) -> None:
    faulty.answers["/generate"] = (200, "text/event-stream", EVENTS + END)
    client = SglangClient("server", faulty.url, api_key="sesame")
    assert asyncio.run(read(client.streams(), {"input_ids": [[1]]})) == READ
    ((_, _, key, body),) = faulty.seen
    assert (key, json.loads(body)) == ("Bearer sesame", {"input_ids": [[1]]})


@pytest.mark.parametrize("size", range(1, len(EVENTS + END) + 1))
def test_pieces_may_end_anywhere(size: int) -> None:
    assert asyncio.run(read(in_pieces(EVENTS + END, size))) == READ


def test_events_are_there_before_the_call_is_over() -> None:
    async def first() -> dict[str, Any]:
        streams = in_pieces(EVENTS, len(EVENTS))
        async for event in streams.answers({}):
            return event
        raise AssertionError("no event")

    assert asyncio.run(first()) == READ[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (EVENTS, "the answers broke off"),
        (b"", "the answers broke off"),
        (EVENTS[:-1], "the answers broke off"),
        (b"data: {half\n\n" + END, "an event that is no JSON: .*half"),
        (b"data: [1]\n\n" + END, "an event that is no object: .*1"),
        (b'data: {"error": {"message": "max_new_tokens must be at least 0"}}\n\n' + END, "must be at least 0"),
    ],
)
def test_a_stream_that_is_none_is_an_error_that_names_the_server(
    content: bytes, said: str, faulty: FaultyServer
) -> None:
    faulty.answers["/generate"] = (200, "text/event-stream", content)
    with pytest.raises(ServerError, match=rf"solver replica 1 \(http://127.*generate: .*{said}"):
        asyncio.run(read(SglangClient("solver replica 1", faulty.url).streams()))


def test_a_refusal_quotes_the_server(faulty: FaultyServer) -> None:
    faulty.json("/generate", '{"error": "input_ids are too long"}', status=400)
    message = error_of(SglangClient("server", faulty.url))
    assert "HTTP 400" in message
    assert "input_ids are too long" in message


def test_a_server_that_is_not_there_is_an_error() -> None:
    assert error_of(SglangClient("gone", f"http://127.0.0.1:{free_port()}"))


def test_many_calls_may_be_under_way_at_once(faulty: FaultyServer) -> None:
    faulty.answers["/generate"] = (200, "text/event-stream", EVENTS + END)

    async def all_at_once() -> list[list[dict[str, Any]]]:
        streams = SglangClient("server", faulty.url).streams()

        async def one() -> list[dict[str, Any]]:
            return [event async for event in streams.answers({})]

        try:
            return await asyncio.gather(*(one() for _ in range(300)))
        finally:
            await streams.close()

    assert asyncio.run(all_at_once()) == [READ] * 300
