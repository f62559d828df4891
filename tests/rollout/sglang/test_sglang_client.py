from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.weights.transports.protocol import ServerError
from tests.rollout.sglang.faulty_server import FaultyServer, faulty_server
from tests.rollout.sglang.measures import free_port


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


@pytest.fixture
def client(faulty: FaultyServer) -> Iterator[SglangClient]:
    client = SglangClient("solver replica 1", faulty.url, tp=2)
    yield client
    client.close()


def error_of(client: SglangClient, path: str = "x") -> str:
    with pytest.raises(ServerError) as caught:
        client.post(path, {})
    message = str(caught.value)
    assert message.startswith(f"{client.name}: {path}: ")
    assert message.isprintable()
    return message


def test_a_refusal_quotes_the_server_and_names_it(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.json("/x", '{"error": {"message": "no such tensor"}}', status=400)
    message = error_of(client)
    assert "solver replica 1" in message
    assert faulty.url in message
    assert "400" in message
    assert "no such tensor" in message


def test_an_answer_that_says_it_failed_is_an_error(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.json("/x", '{"success": false, "message": "group exists"}')
    assert "group exists" in error_of(client)


def test_an_answer_that_is_no_json_is_an_error(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.json("/x", "{half")
    assert "{half" in error_of(client)


def test_what_a_server_says_is_cut_and_made_fit_for_a_terminal(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.answers["/x"] = (500, "text/plain", b"\x1b[2J\r\n" + b"secret " * 200)
    message = error_of(client)
    assert len(message) < 400
    assert message.endswith("…")


def test_a_server_that_is_not_there_is_an_error() -> None:
    client = SglangClient("gone", f"http://127.0.0.1:{free_port()}")
    assert "refused" in error_of(client)
    assert not client.ready()


def test_a_silent_server_is_an_error_after_the_time_allowed(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.silent.set()
    with pytest.raises(ServerError, match=r"no answer in 0\.2 s"):
        client.get("x", timeout_s=0.2)
    assert not client.ready(timeout_s=0.2)
    assert not client.responds(timeout_s=0.2)


def test_answers_without_json_are_text(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.answers["/flush_cache"] = (200, "text/plain", b"Cache flushed.")
    assert client.post("flush_cache", {}) == "Cache flushed."


def test_the_key_goes_into_the_header_alone(faulty: FaultyServer, caplog: pytest.LogCaptureFixture) -> None:
    faulty.json("/model_info", '{"weight_version": "7"}')
    client = SglangClient("server", faulty.url, api_key="sesame")
    with caplog.at_level(logging.DEBUG):
        assert client.weight_version() == "7"
        message = error_of(client)
    assert faulty.seen[0] == ("GET", "/model_info", "Bearer sesame", b"")
    assert "sesame" not in message + repr(client) + caplog.text


def test_proxies_of_the_environment_are_not_used(faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    faulty.json("/model_info", '{"weight_version": "7"}')
    assert SglangClient("server", faulty.url).weight_version() == "7"


def test_one_sample_and_many_are_a_list(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.json("/generate", '{"output_ids": [1]}')
    assert client.generate({}) == [{"output_ids": [1]}]
    faulty.json("/generate", '[{"output_ids": [1]}, {"output_ids": [2]}]')
    assert [sample["output_ids"] for sample in client.generate({})] == [[1], [2]]
    faulty.json("/generate", '["text"]')
    with pytest.raises(ServerError, match="generate: not a list of samples"):
        client.generate({})


def rank(number: int) -> dict[str, object]:
    return {"checksums": {"w": f"hash {number}"}, "parallelism_info": [{"tp_rank": number}]}


def test_checksums_come_in_the_order_of_ranks(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.json("/weights_checker", json.dumps({"success": True, "ranks": [rank(1), rank(0)]}))
    assert client.checksums() == [{"w": "hash 0"}, {"w": "hash 1"}]
    assert faulty.seen[0][3] == b'{"action":"checksum"}'


@pytest.mark.parametrize("ranks", [[rank(0)], [rank(0), rank(2)], [], [{}], None, [rank(0), rank(1), rank(2)]])
def test_checksums_of_other_ranks_than_the_server_s_are_an_error(
    client: SglangClient, faulty: FaultyServer, ranks: object
) -> None:
    faulty.json("/weights_checker", json.dumps({"success": True, "ranks": ranks}))
    with pytest.raises(ServerError, match=r"weights_checker: .*checksums"):
        client.checksums()


@pytest.mark.parametrize("answer", ["[]", "{}", '"7"'])
def test_a_server_without_a_weight_version_is_an_error(client: SglangClient, faulty: FaultyServer, answer: str) -> None:
    faulty.json("/model_info", answer)
    with pytest.raises(ServerError, match="weight_version"):
        client.weight_version()


def test_many_threads_may_speak_at_once(client: SglangClient, faulty: FaultyServer) -> None:
    faulty.json("/generate", '{"output_ids": [1]}')
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda _: client.generate({}), range(200)))
    assert answers == [[{"output_ids": [1]}]] * 200


def test_a_client_that_was_closed_fails_like_a_server_that_is_gone(client: SglangClient, faulty: FaultyServer) -> None:
    client.close()
    assert "its client is closed" in error_of(client)
    assert faulty.seen == []
