from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.transports.protocol import Server, ServerError
from rzero_mega.weights.transports.session import update_servers
from rzero_mega.weights.verification.versions import foreign_versions
from tests.weights.updates import RecordingServer


class Courier:
    """A transport that posts each bucket to a path of its own."""

    def __init__(self, needs_session: bool = True) -> None:
        self.needs_session = needs_session

    def send(self, servers: Sequence[Server], buckets: Iterable[Bucket]) -> None:
        for bucket in buckets:
            for server in servers:
                server.post("deliver", {"names": [slot.name for slot in bucket.slots]})

    def close(self) -> None:
        pass


def two_buckets() -> Iterable[Bucket]:
    return to_buckets([("a", torch.zeros(4)), ("b", torch.ones(4))], 16)


@pytest.mark.parametrize("needs_session", [True, False])
def test_an_update_goes_through_its_stages_in_order(needs_session: bool) -> None:
    server = RecordingServer()
    report = update_servers([server], Courier(needs_session), two_buckets(), "7")
    begin, end = (["begin_weight_update"], ["end_weight_update"]) if needs_session else ([], [])
    assert server.paths() == [
        "pause_generation",
        "update_weight_version",
        *begin,
        "deliver",
        "deliver",
        *end,
        "update_weight_version",
        "continue_generation",
    ]
    assert server.versions() == ["updating-7", "7"]
    assert (report.version, report.nbytes, report.buckets) == ("7", 32, 2)
    assert list(report.seconds) == ["pause", "send", "resume"]


def test_running_requests_are_kept_and_recomputed_with_the_new_weights() -> None:
    server = RecordingServer()
    update_servers([server], Courier(), two_buckets(), "7")
    bodies = dict(server.calls)
    assert bodies["pause_generation"] == {"mode": "retract"}
    assert bodies["update_weight_version"]["abort_all_requests"] is False


def test_the_check_runs_before_a_server_gets_the_new_version() -> None:
    server = RecordingServer()
    seen: list[list[str]] = []
    report = update_servers([server], Courier(), two_buckets(), "7", check=lambda _: seen.append(server.versions()))
    assert seen == [["updating-7"]]
    assert "check" in report.seconds


@pytest.mark.parametrize(
    "path",
    ["pause_generation", "update_weight_version", "begin_weight_update", "deliver", "end_weight_update"],
)
def test_whatever_fails_on_one_server_all_are_released_and_none_gets_the_version(path: str) -> None:
    servers = [RecordingServer("left"), RecordingServer("right", [path])]
    with pytest.raises(ServerError, match=f"right: {path}: refused"):
        update_servers(servers, Courier(), two_buckets(), "7")
    for server in servers:
        assert server.paths()[-1] == "continue_generation"
        assert "end_weight_update" in server.paths()
        assert "7" not in server.versions()


def test_a_check_that_fails_releases_all_and_gives_no_version() -> None:
    servers = [RecordingServer("left"), RecordingServer("right")]

    def check(server: Server) -> None:
        if server.name == "right":
            raise UserError("right: tensors differ")

    with pytest.raises(UserError, match="right: tensors differ"):
        update_servers(servers, Courier(), two_buckets(), "7", check)
    assert all(s.versions() == ["updating-7"] and s.paths()[-1] == "continue_generation" for s in servers)


def test_an_error_of_the_sender_is_raised_as_it_is_after_the_release() -> None:
    server = RecordingServer()

    def broken() -> Iterable[Bucket]:
        yield from two_buckets()
        raise RuntimeError("gather failed")

    with pytest.raises(RuntimeError, match="gather failed"):
        update_servers([server], Courier(), broken(), "7")
    assert server.paths()[-2:] == ["end_weight_update", "continue_generation"]


def test_the_first_error_surfaces_when_the_release_fails_too() -> None:
    server = RecordingServer("only", ["deliver", "end_weight_update", "continue_generation"])
    with pytest.raises(ServerError, match="deliver"):
        update_servers([server], Courier(), two_buckets(), "7")
    assert server.paths()[-1] == "continue_generation"


def test_a_session_that_a_killed_learner_left_open_is_closed_first() -> None:
    class LeftOpen(RecordingServer):
        def post(self, path: str, body: Any, timeout_s: float | None = None) -> Any:
            is_open = self.paths().count("end_weight_update") == 0
            self.failing = {"begin_weight_update"} if is_open else set()
            return super().post(path, body, timeout_s)

    server = LeftOpen()
    update_servers([server], Courier(), two_buckets(), "7")
    assert server.paths()[2:5] == ["begin_weight_update", "end_weight_update", "begin_weight_update"]
    assert server.versions()[-1] == "7"


def test_versions_of_a_sample_that_are_not_allowed_are_listed_once() -> None:
    assert foreign_versions(["6", "7"], ["6", "7"]) == []
    assert foreign_versions(["6", "updating-7", "updating-7", "0"], ["6", "7"]) == ["updating-7", "0"]
