"""Servers on another node of a job: what is asked for by files, and what is answered."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.atomic import write_json
from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.nodes import remote
from rzero_mega.rollout.sglang.nodes.host import ServerHost
from rzero_mega.rollout.sglang.nodes.job_files import (
    JobNode,
    ServerFiles,
    job_node_from,
    node_folder,
    request_of,
    spec_of,
)
from rzero_mega.rollout.sglang.nodes.remote import RemoteServer
from rzero_mega.rollout.sglang.nodes.start import start_server
from rzero_mega.rollout.sglang.pool.choices import check_nodes
from rzero_mega.rollout.sglang.server.address import Address, own_ip, public_url, read_address
from rzero_mega.rollout.sglang.server.command import ServerSpec
from tests.rollout.sglang.faulty_server import FaultyServer, faulty_server

HERE = socket.gethostname()


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    (tmp_path / "model").mkdir()
    return ServerSpec(tmp_path / "model", port=0, tp=2, first_gpu=4, extra_arguments=("--log-level", "info"))


@pytest.fixture
def files(tmp_path: Path) -> ServerFiles:
    return ServerFiles(node_folder(tmp_path, 2), "solver-1-a1")


@pytest.fixture
def asked(spec: ServerSpec, files: ServerFiles) -> RemoteServer:
    return RemoteServer.start(spec, files, 2)


def hosted(tmp_path: Path, node: int = 2) -> ServerHost:
    return ServerHost(tmp_path, node, None)


class TestRequests:
    def test_a_request_says_everything_about_the_server_and_nothing_secret(self, spec: ServerSpec) -> None:
        request = json.loads(json.dumps(request_of(spec)))
        assert spec_of(request) == spec
        assert not [name for name in request if "key" in name]

    def test_a_model_is_named_by_its_full_path(self, spec: ServerSpec, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(spec.model.parent)
        assert spec_of(request_of(replace(spec, model=Path("model")))) == spec

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("model", "model"),
            ("model", "/nowhere/at/all"),
            ("model", 3),
            ("port", 31000),
            ("tp", 0),
            ("tp", True),
            ("tp", "2"),
            ("dtype", "--trust-remote-code"),
            ("device", "tpu"),
            ("host", "--host"),
            ("host", "a b"),
            ("weight_version", "-1"),
            ("max_running_requests", None),
            ("max_total_tokens", 1.5),
            ("context_length", -1),
            ("first_gpu", -1),
            ("memory_saver", 1),
            ("extra_arguments", "--log-level"),
            ("extra_arguments", ["a\nb"]),
        ],
    )
    def test_a_field_that_makes_no_sense_is_named(self, spec: ServerSpec, name: str, value: Any) -> None:
        with pytest.raises(UserError, match=f"request for a server: {name} is not "):
            spec_of({**request_of(spec), name: value})

    @pytest.mark.parametrize("change", [{"shell": "true"}, {"tp": None}])
    def test_unknown_and_missing_fields_are_refused(self, spec: ServerSpec, change: dict[str, Any]) -> None:
        request = {**request_of(spec), **change}
        request = {name: value for name, value in request.items() if value is not None or name != "tp"}
        with pytest.raises(UserError, match=rf"unknown or missing fields \['{next(iter(change))}'\]"):
            spec_of(request)

    @pytest.mark.parametrize("request_", [[], None, "x"])
    def test_what_is_no_request_is_refused(self, request_: Any) -> None:
        with pytest.raises(UserError, match="request for a server"):
            spec_of(request_)


class TestHost:
    def test_what_it_cannot_start_is_answered_with_the_reason(
        self, tmp_path: Path, spec: ServerSpec, files: ServerFiles, caplog: pytest.LogCaptureFixture
    ) -> None:
        files.folder.mkdir()
        write_json(files.request, {**request_of(spec), "device": "tpu"})
        reachable = ServerFiles(files.folder, "solver-2-a1")
        write_json(reachable.request, request_of(replace(spec, host="0.0.0.0")))
        broken = ServerFiles(files.folder, "solver-3-a1")
        broken.request.write_text("{")
        host = hosted(tmp_path)
        host.poll()
        for file, reason in ((files, "device is not"), (reachable, "put a key into"), (broken, "not readable as JSON")):
            answer = read_address(file.address)
            assert answer is not None and (answer.state, answer.url) == ("ended", None)
            assert answer.reason is not None and reason in answer.reason
        assert len(caplog.records) == 3
        host.poll()
        host.close()
        assert len(caplog.records) == 3

    def test_a_request_that_was_withdrawn_before_it_was_seen_is_not_started(
        self, tmp_path: Path, asked: RemoteServer, files: ServerFiles
    ) -> None:
        write_json(files.stop, {})
        hosted(tmp_path).poll()
        assert not asked.alive()
        assert asked.reason() == "was withdrawn before it started"

    def test_requests_for_other_nodes_and_files_of_other_names_are_left_alone(
        self, tmp_path: Path, asked: RemoteServer, files: ServerFiles
    ) -> None:
        (node_folder(tmp_path, 3)).mkdir()
        (node_folder(tmp_path, 3) / "..evil.request.json").write_text("{}")
        before = sorted(tmp_path.rglob("*"))
        hosted(tmp_path, node=3).poll()
        assert sorted(tmp_path.rglob("*")) == before
        assert asked.alive()

    def test_servers_of_a_host_that_died_are_said_to_have_ended(
        self, tmp_path: Path, asked: RemoteServer, files: ServerFiles
    ) -> None:
        Address("ready", HERE, "http://127.0.0.1:1", 1).publish(files.address)
        assert asked.alive()
        hosted(tmp_path).poll()
        assert not asked.alive()
        assert asked.reason() == "the process that watched over it ended"


class TestRemote:
    def test_a_server_that_nobody_has_taken_up_yet_is_waited_for(self, asked: RemoteServer) -> None:
        assert asked.alive() and not asked.ready()
        assert asked.where == "node 2"
        with pytest.raises(UserError, match=r"solver-1-a1 at node 2 was not taken up by node 2 after 0\.1 s"):
            asked.wait_ready(0.1)

    def test_a_file_that_cannot_be_read_is_not_death(self, asked: RemoteServer, files: ServerFiles) -> None:
        Address("ready", HERE, "http://127.0.0.1:1", 1).publish(files.address)
        assert asked.alive() and asked.where == "http://127.0.0.1:1"
        files.address.write_text('{"state"')
        assert asked.alive()
        files.address.unlink()
        files.address.mkdir()
        assert asked.alive() and asked.where == "http://127.0.0.1:1"

    def test_an_end_that_its_node_publishes_is_death_and_its_reason_is_known(
        self, asked: RemoteServer, files: ServerFiles
    ) -> None:
        Address("ended", HERE, reason="RuntimeError: out of memory").publish(files.address)
        assert not asked.alive()
        with pytest.raises(UserError, match="did not start: RuntimeError: out of memory"):
            asked.wait_ready(60)

    def test_it_is_ready_when_its_node_says_so_and_it_answers(self, asked: RemoteServer, files: ServerFiles) -> None:
        with faulty_server() as server:
            server.json("/ready", "{}")
            Address("starting", HERE, server.url, 1).publish(files.address)
            assert not asked.ready()
            Address("ready", HERE, server.url, 1).publish(files.address)
            assert asked.ready()
            asked.wait_ready(60)
            server.json("/ready", "{}", status=503)
            with pytest.raises(UserError, match=f"cannot be reached from {HERE}"):
                asked.wait_ready(0.1)

    def test_the_key_of_this_node_is_used(self, spec: ServerSpec, files: ServerFiles) -> None:
        with faulty_server() as server:
            asked = RemoteServer.start(spec, files, 2, "the key")
            Address("ready", HERE, server.url, 1).publish(files.address)
            client = asked.client("solver replica 1", 5.0)
            client.ready()
            client.close()
            self.assert_key(server)
        assert all("the key" not in file.read_text() for file in files.folder.iterdir())

    def assert_key(self, server: FaultyServer) -> None:
        assert [authorization for _, _, authorization, _ in server.seen] == ["Bearer the key"]

    def test_a_loopback_address_of_another_machine_is_refused(self, asked: RemoteServer, files: ServerFiles) -> None:
        Address("ready", "elsewhere", "http://127.0.0.1:1", 1).publish(files.address)
        with pytest.raises(UserError, match=r"^rollout\.sglang\.host 127\.0\.0\.1: .* runs on elsewhere"):
            asked.wait_ready(60)

    def test_withdrawing_waits_for_its_node_but_not_for_ever(
        self, asked: RemoteServer, files: ServerFiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote, "END_S", 0.1)
        asked.stop()
        assert files.stop.exists() and not asked.alive()
        asked.stop()

    def test_a_name_is_asked_for_once_in_a_job(self, asked: RemoteServer, spec: ServerSpec, files: ServerFiles) -> None:
        with pytest.raises(UserError, match="each start of a job needs a new folder"):
            RemoteServer.start(spec, files, 2)


def test_a_server_goes_to_its_place(tmp_path: Path, spec: ServerSpec) -> None:
    job = JobNode(tmp_path / "job", 0)
    server = start_server("solver-1", 3, spec, ServerPlace(2, 4), tmp_path / "logs", job, None)
    assert isinstance(server, RemoteServer)
    folder = tmp_path / "job" / "node0002"
    assert [path.name for path in folder.iterdir()] == ["solver-1-a3.request.json"]
    assert server.log == folder / "solver-1-a3.log"
    assert server.spec.first_gpu == 4


def test_servers_on_several_nodes_need_a_job(tmp_path: Path) -> None:
    placement = Placement(2, (range(8), range(8, 8)), (ServerPlace(1, 0),), shared_gpus=False)
    check_nodes(placement, JobNode(tmp_path, 0))
    with pytest.raises(UserError, match=r"^placement\.nodes: servers on several nodes need a job"):
        check_nodes(placement, None)


def test_the_job_is_known_from_the_environment(tmp_path: Path) -> None:
    assert job_node_from({}) is None
    job = {"RZERO_MEGA_JOB": str(tmp_path), "RZERO_MEGA_NODE": "3"}
    assert job_node_from(job) == JobNode(tmp_path, 3)
    with pytest.raises(UserError, match="RZERO_MEGA_NODE: '' is not the number"):
        job_node_from({**job, "RZERO_MEGA_NODE": ""})
    with pytest.raises(UserError, match=r"RZERO_MEGA_JOB: .*/none is not a folder"):
        job_node_from({**job, "RZERO_MEGA_JOB": str(tmp_path / "none")})


class TestAddress:
    def test_an_address_is_read_as_it_was_published(self, tmp_path: Path) -> None:
        path = tmp_path / "node0001" / "solver-0-a1.address.json"
        for address in (Address("ready", "n1", "http://10.0.0.1:1", 7), Address("ended", "n1", reason="it broke")):
            address.publish(path)
            assert read_address(path) == address
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    @pytest.mark.parametrize("change", [{"state": "odd"}, {"url": 1}, {"pid": "1"}, {"more": 1}])
    def test_a_file_that_holds_something_else_is_named(self, tmp_path: Path, change: dict[str, Any]) -> None:
        path = tmp_path / "solver-0-a1.address.json"
        write_json(path, {**asdict(Address("ready", "n1")), **change})
        with pytest.raises(UserError, match=r"solver-0-a1\.address\.json: "):
            read_address(path)

    @pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:5"), ("10.1.2.3", "http://10.1.2.3:5")])
    def test_a_server_on_one_interface_is_reached_there(self, spec: ServerSpec, host: str, url: str) -> None:
        assert public_url(replace(spec, host=host, port=5)) == url

    def test_a_server_on_every_interface_is_reached_at_the_machine_s_address(self, spec: ServerSpec) -> None:
        assert public_url(replace(spec, host="0.0.0.0", port=5)) == f"http://{own_ip()}:5"
        assert not own_ip().startswith("127.") or own_ip() == "127.0.0.1"
