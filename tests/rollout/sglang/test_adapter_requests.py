"""What servers are started with and told so that they serve adapters, and what is refused before; no server runs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from rzero_mega.config import load_config
from rzero_mega.config.schema import LoraConfig, SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.planning.models import MODELS
from rzero_mega.rollout.sglang.pool.choices import adapter_arguments, check_adapters, served_adapters
from rzero_mega.rollout.sglang.pool.engine import SglangEngine
from rzero_mega.rollout.sglang.pool.role_servers import Replica, ReplicaState
from rzero_mega.rollout.sglang.pool.server_work import Nobody
from rzero_mega.rollout.sglang.pool.weight_sender import UpdateCosts
from rzero_mega.rollout.sglang.pool.wire import Version
from rzero_mega.weights.adapters import AdaptedWeights, Adapters
from rzero_mega.weights.bucket import to_buckets
from rzero_mega.weights.transports.adapters import AdapterTransport, LoadedAdapters
from tests.rollout.sglang.stand_in import StandInServer
from tests.weights.updates import RecordingServer

LORA = LoraConfig(rank=2, alpha=4.0, modules=["linear_qkv"])
PLACE = "base_model.model.model.layers.0.self_attn"


def test_a_server_forgets_an_adapter_when_it_gets_the_next_and_each_layer_has_an_a() -> None:
    server, loaded = RecordingServer(tp=2), LoadedAdapters()
    names = ("qkv_proj.lora_A", "q_proj.lora_B", "k_proj.lora_B", "v_proj.lora_B")
    tensors = {f"{PLACE}.{name}.weight": torch.full((2, 2), float(i)) for i, name in enumerate(names)}
    for version in ("solver-1-1", "solver-1-2"):
        AdapterTransport(version, LORA, loaded, check=True).send([server], to_buckets(tensors.items(), 20))
    assert server.paths() == ["load_lora_adapter_from_tensors", "unload_lora_adapter", "load_lora_adapter_from_tensors"]
    (_, first), (_, forgotten), (_, second) = server.calls
    assert (first["lora_name"], forgotten, second["lora_name"]) == (
        "solver-1-1",
        {"lora_name": "solver-1-1"},
        "solver-1-2",
    )
    assert len(first["serialized_named_tensors"]) == 2
    hashes = first["expected_checksums"]
    assert set(hashes) == {f"{PLACE}.{x}_proj.lora_{which}.weight" for x in "qkv" for which in "AB"}
    assert len({hashes[f"{PLACE}.{x}_proj.lora_A.weight"] for x in "qkv"}) == 1
    assert (first["config_dict"]["r"], first["config_dict"]["target_modules"]) == (2, ["q_proj", "k_proj", "v_proj"])


def test_requests_name_the_adapter_of_their_version() -> None:
    assert Version(3, "solver-1-3").request({"a": 1}) == {"a": 1}
    assert Version(3, "solver-1-3", adapted=True).request({"a": 1}) == {"a": 1, "lora_path": "solver-1-3"}


def test_servers_have_room_for_adapters_only_where_they_get_them() -> None:
    shape = replace(MODELS["Qwen3-0.6B"], ffn=3000)
    whole, alone = load_config([], []), load_config([], ["learner.lora.rank=8", "learner.lora.modules=[linear_proj]"])
    assert served_adapters(whole) is None and adapter_arguments(None) == []
    check_adapters(whole, shape)
    arguments = " ".join(adapter_arguments(served_adapters(alone)))
    assert "--max-lora-rank 8" in arguments and "--lora-target-modules o_proj" in arguments
    check_adapters(alone, MODELS["Qwen3-0.6B"])
    rounded = load_config([], ["learner.lora.rank=8", "weights.quantization=fp8_block"])
    for config, found in ((alone, shape), (rounded, MODELS["Qwen3-0.6B"])):
        with pytest.raises(UserError, match=r"^weights\.adapters: .*set it to added"):
            check_adapters(config, found)
    assert served_adapters(load_config([], ["learner.lora.rank=8", "weights.adapters=added"])) is None


class Role:
    """`RoleServers` of one server, and its sender, which notes what is sent and whether that is checked."""

    checksums_every = 2

    def __init__(self) -> None:
        self.replica = Replica("solver", 0, StandInServer("a", []), SglangConfig(), 1, ReplicaState.SERVING)
        self.sender, self.sent = self, list[tuple[str, bool]]()

    def want_weights(self) -> None:
        self.replica.state = ReplicaState.WAITING

    def waiting(self) -> list[Replica]:
        return [self.replica] if self.replica.state is ReplicaState.WAITING else []

    admit = waiting

    def send(self, *arguments: Any) -> UpdateCosts:
        self.sent.append(("base", arguments[-1]))
        return UpdateCosts(0.0, 0.0, 0.0, 0.0)

    def send_adapters(self, *arguments: Any) -> UpdateCosts:
        self.sent.append(("adapters", arguments[-1]))
        return UpdateCosts(0.0, 0.0, 0.0, 0.0)


def test_every_second_update_is_checked_whether_the_server_needs_its_base_first_or_not() -> None:
    role = Role()
    pool = SimpleNamespace(
        roles={"solver": role},
        observer=Nobody(),
        takes_adapters=True,
        make_room=lambda: None,
        await_first=lambda _: None,
        take_turn=lambda *_: None,
        relay=lambda *_: SimpleNamespace(through=iter),
    )
    engine = SglangEngine(cast(Any, pool), "solver", 1, [], MODELS["Qwen3-0.6B"], [], context=10)
    for version, has_base in enumerate((False, True, False, False), 1):
        role.replica.base = engine._number if has_base else None
        engine.update_weights(AdaptedWeights([], Adapters([], LORA)), version)
    first, second = [("base", True), ("adapters", True)], [("base", False), ("adapters", False)]
    assert role.sent == [*first, ("adapters", False), *first, *second]
