"""An endpoint is asked patiently, within a budget, nothing twice; what a broken server does stays bounded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from rzero_mega.config import load_config
from rzero_mega.config.schema import EndpointConfig
from rzero_mega.errors import UserError
from rzero_mega.evaluation.endpoint import client as client_module
from rzero_mega.evaluation.endpoint.chat import ChatAnswer, ChatRequest
from rzero_mega.evaluation.endpoint.client import Asked, Endpoint
from rzero_mega.evaluation.endpoint.key import check_key
from tests import ROOT
from tests.evaluation.endpoint.chat_server import ChatServer, Reply, said

KEY = "sk-very-secret-0123456789"


def request(text: str, sample: int = 0) -> ChatRequest:
    return ChatRequest((("system", "system"), ("user", text)), sample)


def config_of(server: ChatServer, **settings: Any) -> EndpointConfig:
    return EndpointConfig(**{"url": server.url, "model": "m", "concurrency": 2, "timeout_s": 20.0, **settings})


def ask(server: ChatServer, folder: Path, *texts: str, **settings: Any) -> Asked:
    with Endpoint(config_of(server, **settings), "judge.endpoint", folder / "answers.jsonl") as endpoint:
        return endpoint.ask([request(text) for text in texts])


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Attempts follow each other at once; what would have been waited for is told."""
    attempts: list[int] = []

    def pause(attempt: int) -> float:
        attempts.append(attempt)
        return 0.0

    monkeypatch.setattr(client_module, "_pause_s", pause)
    return attempts


def test_requests_hold_model_messages_and_sampling(server: ChatServer, tmp_path: Path) -> None:
    server.answer = lambda body: said(body["messages"][1]["content"].upper())
    found = ask(server, tmp_path, "a", "b", temperature=0.5, max_new_tokens=9)
    assert [answer and answer.text for answer in found.answers] == ["A", "B"]
    assert (found.over_budget, found.failed, found.problem) == (0, 0, None)
    assert server.paths == ["/v1/chat/completions"] * 2
    (body,) = [body for body in server.asked if body["messages"][1]["content"] == "a"]
    messages = [{"role": "system", "content": "system"}, {"role": "user", "content": "a"}]
    assert body == {"model": "m", "messages": messages, "max_tokens": 9, "temperature": 0.5}
    assert server.keys == [None, None]


def test_models_that_take_no_temperature_and_another_limit_are_asked_so(server: ChatServer, tmp_path: Path) -> None:
    ask(server, tmp_path, "a", temperature=None, limit_name="max_completion_tokens", max_new_tokens=3)
    assert server.asked[0].keys() == {"model", "messages", "max_completion_tokens"}


FAULTS = {
    "429": Reply(429, b"slow down"),
    "429 with seconds": Reply(429, b"", {"Retry-After": "0"}),
    "429 with a date": Reply(429, b"", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "500": Reply(500, b"<html>oops</html>"),
    "503": Reply(503, b""),
    "408": Reply(408, b""),
    "no JSON": Reply(200, b"<html>a proxy's page</html>"),
    "empty": Reply(200, b""),
    "another JSON": Reply(200, b'{"choices": []}'),
    "content that is no text": Reply(200, b'{"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}'),
    "nested too deeply": Reply(200, b"[" * 100_000),
    "cut off": Reply(200, b'{"choices": [{"mess', length=1000),
    "compressed": Reply(200, b"\x1f\x8b", {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_after_a_passing_fault_the_request_is_sent_again(name: str, server: ChatServer, tmp_path: Path) -> None:
    server.replies = [FAULTS[name]]
    found = ask(server, tmp_path, "a")
    assert [answer and answer.text for answer in found.answers] == ["42"] and len(server.asked) == 2


def test_a_server_that_takes_too_long_is_asked_again(server: ChatServer, tmp_path: Path) -> None:
    slow = said("x" * 4_000)
    server.replies = [Reply(200, slow.body, drip_s=0.05)]
    found = ask(server, tmp_path, "a", timeout_s=1.0)
    assert [answer and answer.text for answer in found.answers] == ["42"] and len(server.asked) == 2


def test_pauses_grow_and_the_server_s_own_wish_goes_before_them(
    server: ChatServer, tmp_path: Path, no_pause: list[int]
) -> None:
    server.replies = [Reply(500), Reply(500), Reply(429, b"", {"Retry-After": "0"}), Reply(500)]
    ask(server, tmp_path, "a")
    assert no_pause == [1, 2, 4]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7.0), ("1.5", 1.5), ("1000000", client_module.LONGEST_PAUSE_S), ("-3", None), ("soon", None), ("", None)],
)
def test_retry_after_is_read_within_bounds(said: str, seconds: float | None) -> None:
    assert client_module._retry_after_s(httpx.Headers({"Retry-After": said})) == seconds


def test_retry_after_may_be_a_date() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = client_module._retry_after_s(httpx.Headers({"Retry-After": in_a_minute}))
    assert seconds is not None and 0 < seconds <= 60


def test_a_request_that_the_server_refuses_is_not_sent_again(server: ChatServer, tmp_path: Path) -> None:
    server.answer = lambda body: Reply(400, b"too long") if body["messages"][1]["content"] == "bad" else said("42")
    found = ask(server, tmp_path, "good", "bad", "fine", concurrency=1)
    assert [answer is not None for answer in found.answers] == [True, False, True]
    assert (found.failed, found.problem, len(server.asked)) == (1, None, 3)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_refuses_us_is_asked_no_more(status: int, server: ChatServer, tmp_path: Path) -> None:
    server.answer = lambda body: Reply(status, b"no such\x1b[31m model")
    found = ask(server, tmp_path, *map(str, range(50)), concurrency=1)
    assert len(server.asked) == 1 and found.failed == 50
    assert found.problem == f"judge.endpoint: {server.url}: HTTP {status}: no such [31m model"


def test_an_endpoint_that_is_out_of_order_is_given_up(server: ChatServer, tmp_path: Path) -> None:
    server.answer = lambda body: Reply(500, b"broken")
    found = ask(server, tmp_path, *map(str, range(50)), concurrency=1, attempts=2)
    assert len(server.asked) == 6 and found.failed == 50
    assert found.problem is not None and found.problem.endswith("HTTP 500: broken (2 attempts)")


def test_an_address_where_nobody_listens_is_a_problem_of_one_line(server: ChatServer, tmp_path: Path) -> None:
    found = ask(server, tmp_path, "a", "b", "c", url="http://127.0.0.1:9/v1", attempts=1, concurrency=1)
    assert found.problem is not None and "\n" not in found.problem and found.answers == (None,) * 3


def test_redirects_are_not_followed(server: ChatServer, tmp_path: Path) -> None:
    elsewhere = server.url.replace("127.0.0.1", "localhost") + "/other"
    server.answer = lambda body: Reply(307, b"", {"Location": elsewhere})
    found = ask(server, tmp_path, "a")
    assert len(server.asked) == 1 and found.problem is not None and elsewhere in found.problem


def test_an_answer_without_end_is_read_no_further(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 100_000)
    server.answer = lambda body: Reply(200, b"x" * 300_000)
    found = ask(server, tmp_path, "a")
    assert found.answers == (None,) and len(server.asked) == 1


def test_answers_say_whether_they_were_cut_off_and_what_they_took(server: ChatServer, tmp_path: Path) -> None:
    server.replies = [said(None, "length", 50), said("y", "stop", None), said("\ud800", "content_filter", 3)]
    found = ask(server, tmp_path, "a", "b", "c", concurrency=1, max_new_tokens=11)
    whole = (ChatAnswer("", False, 50), ChatAnswer("y", True, 11), ChatAnswer("\ud800", False, 3))
    assert found.answers == whole
    assert ask(server, tmp_path, "a", "b", "c", max_new_tokens=11).answers == whole and len(server.asked) == 3


def test_nothing_is_asked_twice(server: ChatServer, tmp_path: Path) -> None:
    first = ask(server, tmp_path, "a", "b", "a")
    assert len(server.asked) == 2 and len(first.answers) == 3
    assert ask(server, tmp_path, "b", "c", "a").failed == 0
    assert sorted(server.users()) == ["a", "b", "c"]


@pytest.mark.parametrize("other", [{"model": "another"}, {"temperature": 0.5}, {"max_new_tokens": 5}])
def test_another_model_or_sampling_is_another_request(
    other: dict[str, Any], server: ChatServer, tmp_path: Path
) -> None:
    ask(server, tmp_path, "a")
    ask(server, tmp_path, "a", **other)
    assert len(server.asked) == 2


def test_samples_of_one_question_are_asked_one_by_one(server: ChatServer, tmp_path: Path) -> None:
    with Endpoint(config_of(server), "oracle", tmp_path / "a.jsonl") as endpoint:
        endpoint.ask([request("a", sample) for sample in range(4)])
    assert server.users() == ["a"] * 4


@pytest.mark.parametrize("torn", [b'{"key": "ab', b"\xff\xfe\n", b'{"key": 3, "text": 4}\n', b"[]\n\n"])
def test_a_torn_line_costs_that_line_alone(torn: bytes, server: ChatServer, tmp_path: Path) -> None:
    ask(server, tmp_path, "a")
    with open(tmp_path / "answers.jsonl", "ab") as file:
        file.write(torn)
    ask(server, tmp_path, "a", "b")
    ask(server, tmp_path, "a", "b")
    assert sorted(server.users()) == ["a", "b"]


def test_one_process_at_a_time_has_the_answers(server: ChatServer, tmp_path: Path) -> None:
    with (
        Endpoint(config_of(server), "oracle", tmp_path / "a.jsonl"),
        pytest.raises(UserError, match="another process is asking"),
    ):
        Endpoint(config_of(server), "oracle", tmp_path / "a.jsonl")
    Endpoint(config_of(server), "oracle", tmp_path / "a.jsonl").close()


PROGRAM = """
import sys
from pathlib import Path
from rzero_mega.config.schema import EndpointConfig
from rzero_mega.evaluation.endpoint.chat import ChatRequest
from rzero_mega.evaluation.endpoint.client import Endpoint

config = EndpointConfig(url=sys.argv[1], model="m", concurrency=1, timeout_s=120.0)
with Endpoint(config, "oracle", Path(sys.argv[2])) as endpoint:
    endpoint.ask([ChatRequest((("user", str(number)),)) for number in range(6)])
"""


def test_what_a_killed_process_was_told_is_not_asked_again(server: ChatServer, tmp_path: Path) -> None:
    third, kill = threading.Event(), threading.Event()

    def answer(body: dict[str, Any]) -> Reply:
        if len(server.asked) == 3:
            third.set()
            kill.wait(60)
        return said("42")

    server.answer = answer
    command = [sys.executable, "-c", PROGRAM, server.url, str(tmp_path / "answers.jsonl")]
    child = subprocess.Popen(command, cwd=ROOT)
    try:
        assert third.wait(120)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        kill.set()
    with Endpoint(config_of(server), "oracle", tmp_path / "answers.jsonl") as endpoint:
        endpoint.ask([ChatRequest((("user", str(number)),)) for number in range(6)])
    users = server.users()
    # Only what was under way is asked a second time.
    assert sorted(users) == sorted([*map(str, range(6)), users[2]])


def test_an_interrupt_ends_what_is_under_way(server: ChatServer, tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Reply:
        return said("42") if body["messages"][1]["content"] == "0" else Reply(200, b" " * 90_000, drip_s=0.1)

    def interrupt(items: int) -> None:
        if items:
            raise KeyboardInterrupt

    server.answer = answer

    with (
        Endpoint(config_of(server, timeout_s=600.0), "oracle", tmp_path / "a.jsonl") as endpoint,
        pytest.raises(KeyboardInterrupt),
    ):
        endpoint.ask([request(str(number)) for number in range(20)], interrupt)
    assert len(server.asked) <= 3


@pytest.mark.parametrize(("budget", "sent"), [({"max_requests": 3}, 3), ({"max_total_tokens": 15}, 3)])
def test_a_budget_ends_the_questions(budget: dict[str, int], sent: int, server: ChatServer, tmp_path: Path) -> None:
    found = ask(server, tmp_path, *map(str, range(10)), concurrency=1, **budget)
    assert (len(server.asked), found.over_budget, found.failed, found.problem) == (sent, 10 - sent, 0, None)
    again = ask(server, tmp_path, *map(str, range(10)), concurrency=1, **budget)
    assert len(server.asked) == sent and again.over_budget == 10 - sent


def test_attempts_count_in_the_budget(server: ChatServer, tmp_path: Path) -> None:
    server.answer = lambda body: Reply(500)
    found = ask(server, tmp_path, "a", "b", max_requests=2, concurrency=1)
    assert len(server.asked) == 2 and found.over_budget == 2


def test_progress_tells_every_request_once(server: ChatServer, tmp_path: Path) -> None:
    ask(server, tmp_path, "a", "b")
    told: list[int] = []
    with Endpoint(config_of(server, max_requests=3), "oracle", tmp_path / "answers.jsonl") as endpoint:
        endpoint.ask([request(text) for text in "abcdea"], told.append)
    assert sum(told) == 5


def test_the_key_goes_into_a_header_and_nowhere_else(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ORACLE_KEY", KEY)
    caplog.set_level(0)
    server.replies = [said(f"you sent {KEY}"), Reply(400, f"what is {KEY}?".encode()), Reply(401, f"{KEY}".encode())]
    found = ask(server, tmp_path, "a", "b", "c", "d", key_variable="ORACLE_KEY", concurrency=1)
    assert server.keys == [f"Bearer {KEY}"] * 3
    assert found.problem is not None and "***" in found.problem
    everything = [found.problem, caplog.text, (tmp_path / "answers.jsonl").read_text(), repr(found)]
    assert not any(KEY in text for text in everything)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ORACLE_KEY", raising=False)
    config = EndpointConfig(url="http://127.0.0.1:9/v1", model="m", key_variable="ORACLE_KEY")
    with pytest.raises(UserError, match=r"oracle.key_variable: the environment variable ORACLE_KEY is not set"):
        check_key(config, "oracle")
    monkeypatch.setenv("ORACLE_KEY", "two\nlines")
    with pytest.raises(UserError, match="holds no key"):
        check_key(config, "oracle")


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://user:hunter2@host/v1", "holds a user, a password or a query"),
        ("https://host/v1?api-key=hunter2", "holds a user, a password or a query"),
        ("host:8000/v1", "is no address"),
        ("ftp://host/v1", "is no address"),
        ("http:///v1", "is no address"),
        ("http://host:99999/v1", "is no address"),
        ("http://[::1/v1", "is no address"),
    ],
)
def test_an_address_is_checked_when_the_configuration_is_read(url: str, what: str) -> None:
    for section in ("evaluation.judge.endpoint", "labels.audit.endpoint"):
        with pytest.raises(UserError, match=what) as raised:
            load_config(overrides=[f"{section}.url={url}", f"{section}.model=m"])
        assert str(raised.value).startswith(f"{section}.url: ") and "hunter2" not in str(raised.value)


def test_an_address_needs_a_model() -> None:
    with pytest.raises(UserError, match=r"labels.audit.endpoint.model: is empty"):
        load_config(overrides=["labels.audit.endpoint.url=http://127.0.0.1:30000/v1"])
