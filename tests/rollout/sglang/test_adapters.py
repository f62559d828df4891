"""Adapters on real servers: alone beside their base, again and again, on a server that replaced one, and gone after."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rzero_mega.config.placement import Placement, ServerPlace
from rzero_mega.config.schema import LoraConfig, RolloutConfig, SamplingConfig, SglangConfig, WeightsConfig
from rzero_mega.rollout.protocol import Request, Scored
from rzero_mega.rollout.sglang.pool.server_pool import ServerPool
from rzero_mega.rollout.sglang.pool.server_work import Nobody
from rzero_mega.rollout.sglang.pool.weight_sender import UpdateCosts
from rzero_mega.rollout.sglang.server.process import ServerProcess
from rzero_mega.weights.adapters import AdaptedWeights, Adapters
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.mapping.adapters import adapter_entries
from rzero_mega.weights.shape import shape_of
from rzero_mega.weights.sources import GatheredWeights
from tests.weights.updates import model_logprobs, named_tensors

pytestmark = pytest.mark.sglang

LORA = LoraConfig(rank=4, alpha=8.0)
PROMPT = [5, 6, 7, 8, 9]
KEYS = {"max_position_embeddings": 4096, "intermediate_size": 96}


class Sent(Nobody):
    """Megabytes of every update."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def updated(self, role: str, costs: UpdateCosts) -> None:
        self.megabytes.append(costs.sent_megabytes)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerPool]:
    if importlib.util.find_spec("sglang") is None:
        pytest.skip("SGLang is not installed: make sglang-cpu")
    config = SglangConfig(max_total_tokens=20_000, start_timeout_s=300.0, attempts=3)
    made = ServerPool(
        RolloutConfig(engine="sglang", dtype="float32", sglang=config),
        WeightsConfig(bucket_mb=1),
        Placement(1, (range(1),), (ServerPlace(0, 0),), shared_gpus=True),
        None,
        tmp_path_factory.mktemp("adapters"),
        Sent(),
        LORA,
    )
    try:
        yield made
    finally:
        made.close()


class Policy:
    """A base with random adapters, as a learner hands them out, and the transformers model of their sum."""

    def __init__(self, base: Any, seed: int, build: Callable[..., Any]) -> None:
        self.model = build("qwen3", **KEYS)
        self.model.load_state_dict(base.state_dict())
        shape, random = shape_of(base.config), torch.Generator().manual_seed(seed)
        own = adapter_entries(entries(shape), LORA.rank or 0, LORA.modules)
        found: dict[str, Tensor] = {
            name: 0.1 * torch.randn(size, generator=random)
            for entry in own
            for name, size in zip(entry.hf, entry.sizes, strict=True)
        }
        weights = dict(self.model.named_parameters())
        shared = {"q_proj": "qkv_proj", "k_proj": "qkv_proj", "v_proj": "qkv_proj"}
        shared |= {"gate_proj": "gate_up_proj", "up_proj": "gate_up_proj"}
        for name, b in found.items():
            if name.endswith("lora_B.weight"):
                place, layer, *_ = name.rsplit(".", 3)
                a = found[f"{place}.{shared.get(layer, layer)}.lora_A.weight"]
                with torch.no_grad():
                    weights[f"{place.removeprefix('base_model.model.')}.{layer}.weight"] += 2.0 * b @ a
        sums = GatheredWeights(lambda: iter(named_tensors(self.model).items()), 1 << 20)
        adapters = GatheredWeights(lambda: iter(found.items()), 1 << 12)
        self.source = AdaptedWeights(sums, Adapters(adapters, LORA))
        self.nbytes = sum(tensor.nbytes for tensor in found.values())


def test_servers_keep_a_base_and_get_adapters_alone(
    pool: ServerPool, tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    base, other = (tiny_model("qwen3", seed, **KEYS) for seed in (0, 1))
    for name, model in (("base", base), ("other", other)):
        model.save_pretrained(tmp_path / name)
    engine, sent = pool.engine("solver", tmp_path / "base"), pool.observer
    request = Request("r", tuple(PROMPT), 2, SamplingConfig(max_new_tokens=12))

    def check(model: Any, version: int) -> None:
        for sample in engine.generate([request]):
            expected = model_logprobs(model, PROMPT, list(sample.tokens))
            assert sample.logprobs.tolist() == pytest.approx(expected, abs=1e-5)
            assert sample.weight_version == version
            assert engine.score([Scored(PROMPT, sample.tokens)])[0] == pytest.approx(expected, abs=1e-5)

    check(base, 0)
    for version in (1, 2):
        policy = Policy(base, version, tiny_model)
        engine.update_weights(policy.source, version)
        check(policy.model, version)
    assert isinstance(sent, Sent) and sent.megabytes == [policy.nbytes / 1e6] * 2
    (server,) = pool.roles["solver"].all()
    assert server.client.get("v1/models")["data"][-1]["id"] == engine.version.on_server
    assert isinstance(server.server, ServerProcess)
    for pid in server.server.pids():
        os.kill(pid, signal.SIGKILL)
    check(policy.model, 2)  # another server: its base is sent, or it was started on it, and then the adapter
    engine = pool.engine("solver", tmp_path / "other")
    check(other, 0)
    engine.update_weights(Policy(other, 5, tiny_model).source, 1)
    check(Policy(other, 5, tiny_model).model, 1)
