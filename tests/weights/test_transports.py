from __future__ import annotations

import base64
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rzero_mega.config.schema import SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.transports.choice import Choice, SyncFacts, choose
from rzero_mega.weights.transports.collective import CollectiveTransport
from rzero_mega.weights.transports.disk import DiskTransport
from rzero_mega.weights.transports.protocol import ServerError
from rzero_mega.weights.transports.select import build_transport
from rzero_mega.weights.transports.tensor import TensorTransport
from tests.weights.updates import RecordingServer

TENSORS = [(f"t{n}", torch.randn(3, n + 1).to(dtype)) for n, dtype in enumerate([torch.float32, torch.bfloat16] * 3)]


def buckets() -> Iterable[Bucket]:
    return to_buckets(TENSORS, 40)


class Reader(RecordingServer):
    """Reads the files that it is told to load."""

    def post(self, path: str, body: Any, timeout_s: float | None = None) -> Any:
        folder = Path(body["model_path"])
        self.files = sorted(folder.iterdir())
        self.read = {name: tensor for file in self.files for name, tensor in load_file(file).items()}
        return super().post(path, body, timeout_s)


def test_disk_gives_every_server_all_tensors_in_one_folder(tmp_path: Path) -> None:
    servers = [Reader("a"), Reader("b")]
    DiskTransport(tmp_path / "new").send(servers, buckets())
    for server in servers:
        assert server.read.keys() == dict(TENSORS).keys()
        assert all(torch.equal(server.read[name], tensor) for name, tensor in TENSORS)
        assert len(server.files) > 1
        assert server.calls[0][1]["flush_cache"] is True


def test_what_disk_wrote_stays_for_slower_ranks_until_the_next_update_or_the_end(tmp_path: Path) -> None:
    transport, server = DiskTransport(tmp_path), Reader()
    transport.send([server], buckets())
    (first,) = tmp_path.iterdir()
    assert sorted(first.iterdir()) == server.files
    transport.send([server], buckets())
    (second,) = tmp_path.iterdir()
    assert second != first and sorted(second.iterdir()) == server.files
    transport.close()
    assert list(tmp_path.iterdir()) == []


def test_disk_leaves_nothing_behind_when_a_server_or_the_sender_fails(tmp_path: Path) -> None:
    failing = RecordingServer("b", ["update_weights_from_disk"])
    transport = DiskTransport(tmp_path)
    with pytest.raises(ServerError, match="b: update_weights_from_disk"):
        transport.send([RecordingServer("a"), failing], buckets())
    transport.close()
    assert list(tmp_path.iterdir()) == []

    def broken() -> Iterable[Bucket]:
        yield next(iter(buckets()))
        raise RuntimeError("gather failed")

    server = RecordingServer()
    with pytest.raises(RuntimeError):
        DiskTransport(tmp_path).send([server], broken())
    assert list(tmp_path.iterdir()) == [] and server.calls == []


def test_a_folder_that_cannot_be_written_is_named_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"weights\.folder"):
        DiskTransport(tmp_path / "file").send([RecordingServer()], buckets())


def test_tensor_sends_each_rank_a_payload_of_the_bucket_alone() -> None:
    """Unpickled here as the server does it."""
    server = RecordingServer(tp=2)
    big = torch.zeros(1 << 20, dtype=torch.uint8)

    def inside_a_big_buffer() -> Iterable[Bucket]:
        for bucket in buckets():
            data = big[: bucket.data.nbytes]
            data.copy_(bucket.data)
            yield Bucket(data, bucket.slots)

    TensorTransport().send([server], inside_a_big_buffer())
    received = {}
    for path, body in server.calls:
        assert path == "update_weights_from_tensor" and body["load_format"] == "flattened_bucket"
        first, second = body["serialized_named_tensors"]
        assert first == second and len(first) < 10_000
        content = pickle.loads(base64.b64decode(first))
        for meta in content["metadata"]:
            raw = content["flattened_tensor"][meta.start_idx : meta.end_idx]
            assert meta.numel == raw.numel()
            received[meta.name] = raw.view(meta.dtype).reshape(meta.shape)
    assert all(torch.equal(received[name], tensor) for name, tensor in TENSORS)


def test_collective_names_a_server_that_will_not_join_and_does_not_wait_for_it() -> None:
    transport = CollectiveTransport("gloo", timeout_s=300.0)
    server = RecordingServer("deaf", ["init_weights_update_group"])
    with pytest.raises(ServerError, match="deaf: init_weights_update_group: refused"):
        transport.send([server], buckets())


def test_collective_gives_up_on_a_server_that_never_joins() -> None:
    transport = CollectiveTransport("gloo", timeout_s=0.5)
    with pytest.raises(ServerError, match=r"absent.*waited 0\.5 s to join|absent: .*imed out"):
        transport.send([RecordingServer("absent")], buckets())


def facts(**changes: Any) -> SyncFacts:
    return SyncFacts(**{"learner_device": "cuda", "server_device": "cuda", "same_host": True, **changes})


@pytest.mark.parametrize(
    ("changes", "name", "because"),
    [
        ({}, "collective", "NCCL"),
        ({"same_host": False}, "collective", "NCCL"),
        ({"shared_gpus": True}, "tensor", "share GPUs"),
        ({"shared_gpus": True, "same_host": False}, "tensor", "share GPUs"),
        ({"nccl_apart": "NCCL joins no two releases"}, "disk", "no two releases, but all see the same"),
        ({"nccl_apart": "NCCL joins no two releases", "same_host": False}, "disk", "no two releases, but all see"),
        ({"learner_device": "cpu", "server_device": "cpu"}, "collective", "GLOO"),
        ({"learner_device": "cpu"}, "disk", "same folder"),
        ({"learner_device": "cpu", "same_host": False}, "disk", "same folder"),
    ],
)
def test_auto_takes_the_fastest_transport_that_can_work_and_says_why(
    changes: dict[str, Any], name: str, because: str
) -> None:
    choice = choose("auto", facts(**changes))
    assert choice.name == name and because in choice.reason


@pytest.mark.parametrize("sync", ["disk", "collective", "tensor"])
def test_a_transport_that_the_user_names_is_taken(sync: str) -> None:
    assert choose(sync, facts()) == Choice(sync, f"weights.sync says {sync}")


@pytest.mark.parametrize(
    ("sync", "changes", "reason"),
    [
        ("collective", {"learner_device": "cpu"}, "from cpu"),
        ("collective", {"shared_gpus": True}, "one GPU"),
        ("collective", {"nccl_apart": "NCCL joins no two releases"}, "no two releases"),
    ],
)
def test_a_transport_that_cannot_work_is_refused_with_the_reason(
    sync: str, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=f"weights.sync {sync}: .*{reason}"):
        choose(sync, facts(**changes))


def test_every_choice_can_be_built(tmp_path: Path) -> None:
    kinds = {"disk": DiskTransport, "collective": CollectiveTransport, "tensor": TensorTransport}
    for name, kind in kinds.items():
        assert isinstance(build_transport(Choice(name, ""), facts(), tmp_path, SglangConfig()), kind)
