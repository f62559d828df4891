"""Two nodes of a rank each, whose servers keep what they are sent: `python -m tests.rollout.sglang.sender_ranks`."""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor

from rzero_mega import spmd
from rzero_mega.assets import nano_base_path
from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import RolloutConfig, SglangConfig, VerifyConfig, WeightsConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.nodes.job_files import JobNode
from rzero_mega.rollout.sglang.pool import server_pool
from rzero_mega.rollout.sglang.pool.engine import Pass, SglangEngine
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.pool.turns import EVERYTHING
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.weights.bucket import Bucket, to_buckets
from rzero_mega.weights.hf_folder import HfWeights
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.quantization.scheme import SCHEMES, quantize_stream
from rzero_mega.weights.reshard.placement import Shard
from rzero_mega.weights.reshard.plan import Destination, plan_reshard
from rzero_mega.weights.shape import read_shape
from rzero_mega.weights.sources import PlannedWeights, WeightSource
from rzero_mega.weights.transports.protocol import ServerError
from rzero_mega.weights.transports.relay import Relay
from tests.rollout.sglang.stand_in import StandInServer
from tests.weights.updates import RecordingServer

BUCKET_BYTES = 100_000
UPDATE = "update_weights_from_tensor"


def read(payload: str) -> dict[str, Tensor]:
    content = pickle.loads(base64.b64decode(payload))
    data = content["flattened_tensor"]
    return {m.name: data[m.start_idx : m.end_idx].view(m.dtype).view(m.shape) for m in content["metadata"]}


class Server(StandInServer):
    """Keeps the tensors that it is sent; dies when it has taken `endures` buckets."""

    def __init__(self, name: str, node: int) -> None:
        super().__init__(name, [])
        self.node, self.endures = node, 1_000_000
        self.tensors: dict[str, Tensor] = {}

    def client(self, name: str, timeout_s: float) -> SglangClient:
        return _Client(self, name)

    def take(self, body: Mapping[str, Any]) -> None:
        self.endures -= 1
        if self.endures < 0:
            self.dead = True
            raise ServerError(f"{self.name}: disconnected")
        (payload,) = body["serialized_named_tensors"]
        self.tensors |= read(payload)


class _Client(SglangClient):
    def __init__(self, server: Server, name: str) -> None:
        super().__init__(name, f"http://{server.name}", node=server.node)
        self._server = server

    def post(self, path: str, body: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        if path == UPDATE:
            self._server.take(body)
        return {}

    def responds(self, timeout_s: float) -> bool:
        return self._server.alive()


def learner(changed: int) -> WeightSource:
    """The base, over two pipeline stages, by the plan; every tensor of the last stage multiplied by `changed`."""
    rank, shape = spmd.rank(), read_shape(nano_base_path())
    table, mine, placement = entries(shape), dict[str, Tensor](), list[Shard]()
    with HfWeights(nano_base_path()) as weights:
        for entry in entries(shape):
            first = entry.megatron.startswith(("embedding", "decoder.layers.0."))
            full = entry.kind.merge([weights.tensor(name) for name in entry.hf], shape)
            holder = 0 if first else 1
            placement.append(Shard(holder, entry.megatron, 0, 1, tuple(full.shape), full.dtype))
            if holder == rank:
                mine[entry.megatron] = full if first else full * changed
    plan = plan_reshard(table, shape, placement, [Destination(0), Destination(1)], BUCKET_BYTES)
    assert len(plan.buckets) > 3
    return PlannedWeights(plan, lambda: mine, rank, torch.device("cpu"))


def factors(server: Server) -> list[float]:
    """By how much the server's tensors differ from the base: each factor once. It has all of them, or none."""
    shape, found = read_shape(nano_base_path()), set()
    if not server.tensors:
        return []
    with HfWeights(nano_base_path()) as weights:
        for entry in entries(shape):
            for name in entry.hf:
                base = weights.tensor(name).flatten()
                largest = int(base.abs().argmax())
                factor = float(server.tensors[name].flatten()[largest] / base[largest])
                assert torch.equal(server.tensors[name].flatten(), base * factor)
                found.add(factor)
    return sorted(found)


def updates(folder: Path) -> dict[str, Any]:
    """Two updates, in the second of which the other node's server dies of a bucket; what servers have by name."""
    started: dict[str, Server] = {}

    def start(name: str, attempt: int, spec: ServerSpec, place: ServerPlace, *_: Any) -> Server:
        server = Server(f"{name}-a{attempt}", place.node)
        started[server.name] = server
        return server

    with patch.object(server_pool, "start_server", start):
        pool = ServerPool(
            RolloutConfig(engine="sglang", dtype="float32", sglang=SglangConfig(replicas=2, host="0.0.0.0")),
            WeightsConfig(sync="tensor", verify=VerifyConfig(checksums_every=0)),
            Placement(2, (range(1), range(1, 2)), (ServerPlace(0, 0), ServerPlace(1, 0)), shared_gpus=True),
            JobNode(folder, spmd.rank()),
            folder / "logs",
        )
        engine = pool.engine("solver", nano_base_path())
        found: dict[str, Any] = {"receivers": list(engine.receivers)}
        for version, changed in ((1, 2), (2, 4)):
            engine.update_weights(learner(changed), version)
            if started and version == 1:
                started["solver-1-a1"].endures = 2
            found[f"after {version}"] = {name: factors(server) for name, server in started.items() if server.alive()}
        found["passes"] = passes_of(engine)
    return found


def passes_of(engine: SglangEngine) -> list[str]:
    """Those that a rank is in where the first of two fails on the first rank."""
    sent: list[str] = []
    wanted = [[Pass.BASE, Pass.ADAPTERS], []]

    def send(what: Pass) -> UserError | None:
        sent.append(what.value)
        return UserError("failed") if spmd.rank() == 0 else None

    with (
        patch.object(engine, "_admit", lambda _: wanted.pop(0)),
        patch.object(engine, "_send", send),
        patch.object(engine, "_recover", lambda *_: None),
    ):
        engine._supply(EVERYTHING)
    return sent


def wrong_on_1(rank: int) -> Iterator[tuple[str, Tensor]]:
    yield "model.layers.0.mlp.up_proj.weight", torch.ones(128, 128, dtype=torch.int32 if rank else torch.float32)


def right(rank: int) -> Iterator[tuple[str, Tensor]]:
    for number in range(3):
        yield f"model.layers.{number}.mlp.up_proj.weight", torch.full((128, 128), 1.0 + rank + 2 * number)


def relayed(tensors: Callable[[int], Iterator[tuple[str, Tensor]]]) -> list[Any]:
    """Of a pass in FP8: the largest value times its scale in what the other node's server gets of each bucket."""
    scheme, rank = SCHEMES["fp8_block"], spmd.rank()
    relay, server = Relay({0: 0, 1: 1}, False, scheme), RecordingServer(node=1)
    found: list[Any] = []
    buckets: Iterator[Bucket] = relay.through(to_buckets(tensors(rank), 100_000))
    try:
        for _ in quantize_stream(buckets, scheme):
            sent = read(relay.payload(server, "of the first rank"))
            (scale,) = (tensor for name, tensor in sent.items() if name.endswith("_inv"))
            (weight,) = (tensor for name, tensor in sent.items() if not name.endswith("_inv"))
            found.append(float(weight.float().max() * scale.max()))
    except UserError as error:
        found.append(str(error))
        for _ in buckets:
            pass
    return found


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    found = {"updates": updates(folder), "right": relayed(right), "wrong": relayed(wrong_on_1)}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    spmd.barrier()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
