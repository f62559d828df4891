"""Faults of weight updates on real servers: each is shown to have happened, caught, named, and mended."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.process import ServerProcess
from rzero_mega.weights.bucket import Bucket, Slot, to_buckets
from rzero_mega.weights.shape import shape_of
from rzero_mega.weights.transports.collective import CollectiveTransport
from rzero_mega.weights.transports.protocol import Server, ServerError
from rzero_mega.weights.transports.session import update_servers
from rzero_mega.weights.transports.tensor import TensorTransport
from rzero_mega.weights.verification.checksums import ExpectedChecksums, check_checksums
from rzero_mega.weights.verification.probe import check_probe
from tests.weights.updates import BUCKET_BYTES, check_versions, model_logprobs, named_tensors, sample, stream

pytestmark = pytest.mark.sglang

PROMPT = [5, 6, 7, 8, 9]
TIME_LIMIT_S = 240.0
KEY = "of both servers"  # a server that is started anew would make itself another one
VICTIM = "model.layers.1.self_attn.o_proj.weight"
OTHER = "model.layers.0.self_attn.o_proj.weight"


@pytest.fixture(scope="module")
def models(tiny_model: Callable[..., Any]) -> list[Any]:
    return [tiny_model("qwen3", seed) for seed in range(2)]


class Replicas:
    """Two servers that start with model 0, and one collective transport to both."""

    def __init__(self, processes: list[ServerProcess]) -> None:
        self.processes = processes
        self.clients = [process.client(f"solver replica {n}", TIME_LIMIT_S) for n, process in enumerate(processes)]
        self.transport = CollectiveTransport("gloo", timeout_s=TIME_LIMIT_S)
        self.updates = 0

    def next_version(self) -> str:
        self.updates += 1
        return str(self.updates)

    def restart(self, index: int, log: Path) -> None:
        """The same server again, as it was started; its client stays."""
        self.processes[index].stop()
        self.processes[index] = ServerProcess.start(self.processes[index].spec, log, KEY)
        self.processes[index].wait_ready(300)


@pytest.fixture(scope="module")
def replicas(
    models: list[Any], sglang_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    folder = tmp_path_factory.mktemp("base")
    models[0].save_pretrained(folder)
    replicas = Replicas([sglang_server(folder, 1, f"fault {n}", KEY) for n in range(2)])
    yield replicas
    replicas.transport.close()
    for process in replicas.processes:
        process.stop()


@pytest.fixture(autouse=True)
def old_weights(replicas: Replicas, models: list[Any]) -> None:
    """Every test begins with model 0 on both, brought by an update: which also shows that faults can be mended."""
    expected = expected_of(models[0])
    version = replicas.next_version()
    update_servers(
        replicas.clients,
        replicas.transport,
        stream(models[0]),
        version,
        lambda server: check_checksums(server, expected, version),
    )
    check_versions(replicas.clients, version)
    output, logprobs, _ = sample(replicas.clients[0], PROMPT, 20)
    check_probe([model_logprobs(models[0], PROMPT, output)], [logprobs], "float32", None, version)


@contextmanager
def before_the_time_limit() -> Iterator[None]:
    """What runs inside ends on its own: neither because a time limit is over, nor thanks to the garbage collector.

    (A connection that is closed only when its object is collected would free the server at a time of chance.)
    """
    start = time.monotonic()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        assert time.monotonic() - start < TIME_LIMIT_S / 2


def expected_of(model: Any) -> ExpectedChecksums:
    expected = ExpectedChecksums(shape_of(model.config), 1, torch.float32)
    for name, tensor in named_tensors(model).items():
        expected.add(name, tensor)
    return expected


def held(client: SglangClient, model: Any) -> set[str]:
    """The server's tensors that are those of the model."""
    (reported,), (expected,) = client.checksums(), expected_of(model).by_rank()
    return {name for name, digest in expected.items() if reported[name] == digest}


def all_names(model: Any) -> set[str]:
    return set(expected_of(model).by_rank()[0])


def off_by(client: SglangClient, model: Any) -> float:
    """Largest difference between the server's log-probabilities and the model's."""
    output, logprobs, _ = sample(client, PROMPT, 20)
    return max(abs(a - b) for a, b in zip(model_logprobs(model, PROMPT, output), logprobs, strict=True))


def swapped(model: Any) -> Iterator[Bucket]:
    tensors = named_tensors(model)
    tensors[VICTIM], tensors[OTHER] = tensors[OTHER], tensors[VICTIM]
    return to_buckets(tensors.items(), BUCKET_BYTES)


def with_bytes(model: Any, change: Callable[[Tensor], None]) -> Iterator[Bucket]:
    """The stream, with `change` made to the bytes of the victim."""
    for bucket in stream(model):
        for slot in bucket.slots:
            if slot.name == VICTIM:
                change(bucket.data[slot.start : slot.stop])
        yield bucket


def flip_lowest_bit(raw: Tensor) -> None:
    raw[0] ^= 1


def zero_second_half(raw: Tensor) -> None:
    raw[len(raw) // 2 :] = 0


def without_second_half(model: Any) -> Iterator[Bucket]:
    """The stream; of the bucket that holds the victim, the tensors from the victim on are lost."""
    for bucket in stream(model):
        names = [slot.name for slot in bucket.slots]
        if VICTIM in names:
            kept: tuple[Slot, ...] = bucket.slots[: names.index(VICTIM)]
            assert kept
            bucket = Bucket(bucket.data[: kept[-1].stop], kept)
        yield bucket


FAULTS: dict[str, tuple[Callable[[Any], Iterable[Bucket]], bool]] = {
    "two tensors swapped": (swapped, True),
    "one bit flipped": (lambda model: with_bytes(model, flip_lowest_bit), False),
    "half of a tensor zeroed": (lambda model: with_bytes(model, zero_second_half), True),
    "half a bucket lost": (without_second_half, True),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_bytes_on_a_server_are_caught_before_it_gets_the_version(
    fault: str, replicas: Replicas, models: list[Any]
) -> None:
    client, model = replicas.clients[0], models[1]
    injected, probe_sees_it = FAULTS[fault]
    expected = expected_of(model)
    version = replicas.next_version()
    with pytest.raises(UserError) as caught:
        update_servers(
            [client],
            TensorTransport(),
            injected(model),
            version,
            lambda server: check_checksums(server, expected, version),
        )
    wrong = all_names(model) - held(client, model)
    assert VICTIM in wrong and len(wrong) <= 4, "the fault did not happen as meant"
    message = str(caught.value)
    assert message.startswith(client.name) and f"version {version} differ" in message and VICTIM in message
    assert ("holds the values of" in message) == (fault == "two tensors swapped")
    assert client.weight_version() == f"updating-{version}"
    with pytest.raises(UserError, match=f"solver replica 0 .* an unfinished update to version {version}"):
        check_versions(replicas.clients[:1], version)
    assert (off_by(client, model) > 0.01) == probe_sees_it


@pytest.mark.parametrize("kind", ["collective", "tensor"])
def test_a_sender_that_fails_midway_leaves_servers_that_say_so(
    kind: str, replicas: Replicas, models: list[Any]
) -> None:
    def broken() -> Iterator[Bucket]:
        for number, bucket in enumerate(stream(models[1])):
            if number == 3:
                raise RuntimeError("gather failed")
            yield bucket

    version = replicas.next_version()
    transport = replicas.transport if kind == "collective" else TensorTransport()
    with pytest.raises(RuntimeError, match="gather failed"):
        update_servers(replicas.clients, transport, broken(), version)
    for client in replicas.clients:
        assert held(client, models[1]) and held(client, models[0]), "the servers are not half updated"
        _, _, meta = sample(client, PROMPT, 5)
        assert [span["version"] for span in meta["weight_versions"]] == [f"updating-{version}"]
    with pytest.raises(UserError, match=r"replica 0 .*unfinished update.*replica 1 .*unfinished update"):
        check_versions(replicas.clients, version)


def test_a_server_killed_between_two_buckets_is_named_and_the_others_go_on(
    replicas: Replicas, models: list[Any], tmp_path: Path
) -> None:
    def killing() -> Iterator[Bucket]:
        for number, bucket in enumerate(stream(models[1])):
            if number == 3:
                for pid in replicas.processes[1].pids():
                    os.kill(pid, signal.SIGKILL)
            yield bucket

    version = replicas.next_version()
    survivor = replicas.clients[0]
    try:
        with pytest.raises(ServerError, match=r"^solver replica 1 "), before_the_time_limit():
            update_servers(replicas.clients, replicas.transport, killing(), version)
        assert not replicas.processes[1].alive(), "the server was not killed"
        assert held(survivor, models[1]) and held(survivor, models[0]), "the survivor is not half updated"
        with pytest.raises(UserError, match=f"solver replica 0 .*unfinished update to version {version}"):
            check_versions([survivor], version)
        again = replicas.next_version()
        update_servers([survivor], replicas.transport, stream(models[1]), again)
        assert held(survivor, models[1]) == all_names(models[1])
    finally:
        replicas.restart(1, tmp_path / "server.log")


@pytest.mark.slow
def test_a_server_restarted_between_two_updates_is_given_away_by_its_version(
    replicas: Replicas, models: list[Any], tmp_path: Path
) -> None:
    version = replicas.next_version()
    update_servers(replicas.clients, replicas.transport, stream(models[1]), version)
    replicas.restart(1, tmp_path / "server.log")
    assert held(replicas.clients[1], models[0]) == all_names(models[0]), "the server is not as it was started"
    named = r"expected, but solver replica 1 .* holds version 0 \(it was restarted"
    with pytest.raises(UserError, match=named):
        check_versions(replicas.clients, version)
    # The transport still has the group that the server was in before.
    again = replicas.next_version()
    with before_the_time_limit():
        update_servers(replicas.clients, replicas.transport, stream(models[1]), again)
    check_versions(replicas.clients, again)
    assert held(replicas.clients[1], models[1]) == all_names(models[1])


def test_a_replica_that_an_update_did_not_reach_is_named(replicas: Replicas, models: list[Any]) -> None:
    version = replicas.next_version()
    update_servers(replicas.clients[:1], replicas.transport, stream(models[1]), version)
    assert held(replicas.clients[1], models[0]) == all_names(models[0]), "the update reached the replica"
    with pytest.raises(UserError, match=r"expected, but solver replica 1 .* holds version \d+ "):
        check_versions(replicas.clients, version)


class Deaf:
    """A server that takes part in everything, but loses the weights."""

    def __init__(self, client: SglangClient) -> None:
        self._client = client
        self.name, self.tp, self.node = client.name, client.tp, client.node

    def post(self, path: str, body: Any, timeout_s: float | None = None) -> Any:
        return {} if path == "update_weights_from_tensor" else self._client.post(path, body, timeout_s)

    def get(self, path: str, timeout_s: float | None = None) -> Any:
        return self._client.get(path, timeout_s)

    def checksums(self) -> list[dict[str, str]]:
        return self._client.checksums()


def test_a_stale_replica_with_the_right_version_is_caught_by_checksums_and_by_the_probe(
    replicas: Replicas, models: list[Any]
) -> None:
    version = replicas.next_version()
    servers: list[Server] = [replicas.clients[0], Deaf(replicas.clients[1])]
    update_servers(servers, TensorTransport(), stream(models[1]), version)
    check_versions(replicas.clients, version)
    stale = replicas.clients[1]
    assert held(stale, models[0]) == all_names(models[0]), "the update reached the replica"
    expected = expected_of(models[1])
    check_checksums(replicas.clients[0], expected, version)
    with pytest.raises(UserError, match=r"^solver replica 1 .*and .* more"):
        check_checksums(stale, expected, version)
    output, logprobs, _ = sample(stale, PROMPT, 20)
    with pytest.raises(UserError, match=r"^solver replica 1 "):
        check_probe([model_logprobs(models[1], PROMPT, output)], [logprobs], "float32", None, version, stale.name)
