"""SGLang's own loader finds every quantised tensor under its name and shape, and refuses what the check refuses."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.server.command import CPU_STUBS
from rzero_mega.weights.bucket import to_buckets
from rzero_mega.weights.quantization.scheme import FP8_BLOCK, FP8_TENSOR, Scheme, quantization_config, quantize_stream
from rzero_mega.weights.quantization.server_limits import TargetServer, check_servable
from tests import ROOT

pytestmark = [
    pytest.mark.sglang,
    pytest.mark.skipif(importlib.util.find_spec("sglang") is None, reason="SGLang is not installed: make sglang-cpu"),
]

# A hidden size that 128 does not divide; everything that is cut over two processes is whole blocks.
SIZES = {
    "vocab_size": 64,
    "hidden_size": 200,
    "intermediate_size": 256,
    "moe_intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "num_experts": 3,
    "num_experts_per_tok": 2,
}


def run_ranks(task: str, folder: Path, tp: int) -> None:
    """Run all ranks of sglang_fp8_ranks.py; AssertionError quotes those that failed."""
    program = [sys.executable, "-m", "tests.weights.sglang_fp8_ranks"]
    environment = {**os.environ, "PYTHONPATH": str(CPU_STUBS), "SGLANG_USE_CPU_ENGINE": "1", "OMP_NUM_THREADS": "1"}
    ranks: list[subprocess.Popen[str]] = []
    try:
        for rank in range(tp):
            command = [*program, task, str(folder), str(rank), str(tp)]
            log = open(folder / f"log-{rank}", "w")  # noqa: SIM115
            ranks.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=log, stderr=subprocess.STDOUT)
            )
        for rank, process in enumerate(ranks):
            assert process.wait(300) == 0, (folder / f"log-{rank}").read_text()[-3000:]
    finally:
        for process in ranks:
            process.kill()
            process.wait()


def checkpoint(model: Any) -> dict[str, Tensor]:
    """A model's tensors in bfloat16 under the names of checkpoints: experts one by one."""
    tensors = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("experts.gate_up_proj"):
            for expert, fused in enumerate(tensor):
                for part, half in zip(("gate", "up"), fused.chunk(2), strict=True):
                    tensors[name.replace("gate_up_proj", f"{expert}.{part}_proj.weight")] = half
        elif name.endswith("experts.down_proj"):
            for expert, down in enumerate(tensor):
                tensors[name.replace("down_proj", f"{expert}.down_proj.weight")] = down
        else:
            tensors[name] = tensor
    return {name: tensor.bfloat16() for name, tensor in tensors.items()}


def quantized(tensors: dict[str, Tensor], scheme: Scheme) -> dict[str, Tensor]:
    buckets = quantize_stream(to_buckets(tensors.items(), 1 << 18), scheme)
    return {name: tensor.clone() for bucket in buckets for name, tensor in bucket.tensors()}


def expected_of_rank(tensors: dict[str, Tensor], rank: int, tp: int) -> dict[str, Tensor]:
    """The server's tensors: each part cut on its own, then fused. Scales of blocks are cut as their weights are."""

    def cut(name: str) -> Tensor:
        tensor = tensors[name]
        if name.endswith("weight_scale"):
            return tensor
        by_columns = any(part in name for part in ("o_proj", "down_proj"))
        return tensor.chunk(tp, 1 if by_columns else 0)[rank]

    def fused(prefix: str, parts: tuple[str, ...], end: str) -> Tensor:
        return torch.cat([cut(f"{prefix}.{part}.{end}").view(torch.uint8) for part in parts])

    found: dict[str, Tensor] = {}
    for end in ("weight", *{name.rpartition(".")[2] for name in tensors if "scale" in name}):
        for layer in ("model.layers.0", "model.layers.1"):
            attention = f"{layer}.self_attn"
            found[f"{attention}.qkv_proj.{end}"] = fused(attention, ("q_proj", "k_proj", "v_proj"), end)
            found[f"{attention}.o_proj.{end}"] = cut(f"{attention}.o_proj.{end}")
            mlp, experts = f"{layer}.mlp", f"{layer}.mlp.experts"
            if f"{mlp}.gate.weight" not in tensors:
                found[f"{mlp}.gate_up_proj.{end}"] = fused(mlp, ("gate_proj", "up_proj"), end)
                found[f"{mlp}.down_proj.{end}"] = cut(f"{mlp}.down_proj.{end}")
                continue
            found[f"{mlp}.gate.weight"] = tensors[f"{mlp}.gate.weight"]
            gated = [fused(f"{experts}.{expert}", ("gate_proj", "up_proj"), end) for expert in range(3)]
            down = [cut(f"{experts}.{expert}.down_proj.{end}").contiguous().view(torch.uint8) for expert in range(3)]
            found[f"{experts}.w13_{end}"], found[f"{experts}.w2_{end}"] = torch.cat(gated), torch.cat(down)
    for whole in ("model.norm.weight", "model.layers.1.self_attn.q_norm.weight"):
        found[whole] = tensors[whole]
    return found


FAMILIES = {"qwen3": "Qwen3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM"}
FAMILY = pytest.mark.parametrize("family", ["qwen3", pytest.param("qwen3_moe", marks=pytest.mark.slow)])


def write_checkpoints(
    family: str, scheme: Scheme, folder: Path, tiny_model: Callable[..., Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two versions of a model: a complete folder, and `update` inside it. Returns the tensors of both."""
    for version, target in enumerate((folder, folder / "update")):
        target.mkdir(exist_ok=True)
        model = tiny_model(family, seed=version, **SIZES)
        tensors = quantized(checkpoint(model), scheme)
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = {**model.config.to_dict(), "architectures": [FAMILIES[family]], "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": quantization_config(scheme)}))
    return load_file(folder / "model.safetensors"), tensors


def differences(file: Path, expected: dict[str, Tensor]) -> set[str]:
    """Names in a server's tensors that are missing, differ in any bit, or are linear layers that nobody expected."""
    server = load_file(file)
    wrong = {
        name
        for name, tensor in expected.items()
        if name not in server
        or not server[name].flatten().view(torch.uint8).equal(tensor.contiguous().flatten().view(torch.uint8))
    }
    unquantised = ("norm.weight", "embed_tokens.weight", "lm_head.weight")
    return wrong | {name for name in server.keys() - expected.keys() if not name.endswith(unquantised)}


@FAMILY
def test_sglang_loads_and_updates_blocks_to_the_bit(
    family: str, tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    first, second = write_checkpoints(family, FP8_BLOCK, tmp_path, tiny_model)
    run_ranks("reload", tmp_path, tp=2)
    for rank in (0, 1):
        assert differences(tmp_path / f"loaded-{rank}", expected_of_rank(first, rank, 2)) == set()
        assert len(differences(tmp_path / f"loaded-{rank}", expected_of_rank(second, rank, 2))) >= 8
        assert json.loads((tmp_path / f"errors-{rank}.json").read_text()) == {}
        assert differences(tmp_path / f"updated-{rank}", expected_of_rank(second, rank, 2)) == set()


@pytest.mark.slow
@FAMILY
def test_sglang_loads_tensors_with_one_scale_to_the_bit(
    family: str, tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    first, second = write_checkpoints(family, FP8_TENSOR, tmp_path, tiny_model)
    run_ranks("load", tmp_path, tp=1)
    assert differences(tmp_path / "loaded-0", expected_of_rank(first, 0, 1)) == set()
    assert len(differences(tmp_path / "loaded-0", expected_of_rank(second, 0, 1))) >= 8


@pytest.mark.slow
def test_a_loaded_model_cannot_take_new_scales_per_tensor(tiny_model: Callable[..., Any], tmp_path: Path) -> None:
    """The reason why `check_servable` refuses fp8_tensor where a server must take updates."""
    write_checkpoints("qwen3", FP8_TENSOR, tmp_path, tiny_model)
    run_ranks("reload", tmp_path, tp=1)
    errors = json.loads((tmp_path / "errors-0.json").read_text())
    assert {f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkv"} <= errors.keys()
    assert "no attribute 'weight_loader'" in errors["model.layers.0.mlp.gate_proj.weight_scale"]


def shapes_of(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    hidden, d = config["hidden_size"], config["head_dim"]
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    layer = "model.layers.0."
    for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
        yield f"{layer}self_attn.{name}_proj.weight", (count * d, hidden)
    yield f"{layer}self_attn.o_proj.weight", (hidden, heads * d)
    moe = config["model_type"] == "qwen3_moe"
    mlp, ffn = ("mlp.experts.0", config["moe_intermediate_size"]) if moe else ("mlp", config["intermediate_size"])
    for name, shape in (("gate", (ffn, hidden)), ("up", (ffn, hidden)), ("down", (hidden, ffn))):
        yield f"{layer}{mlp}.{name}_proj.weight", shape


def configurations() -> list[dict[str, Any]]:
    found = []
    for model_type, ffn, (heads, kv_heads, d) in itertools.product(
        ("qwen3", "qwen3_moe"),
        (128, 192, 256),
        ((2, 2, 128), (4, 2, 64), (4, 1, 128), (4, 4, 64), (2, 2, 192), (4, 2, 128)),
    ):
        sizes = {**SIZES, "num_hidden_layers": 1, "intermediate_size": ffn}
        sizes |= {"moe_intermediate_size": ffn, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
        found.append({**sizes, "head_dim": d, "model_type": model_type})
    return found


@pytest.mark.slow
@pytest.mark.parametrize("tp", [1, 2])
def test_the_check_refuses_exactly_what_sglang_refuses(tp: int, tmp_path: Path, tiny_model: Callable[..., Any]) -> None:
    config = tiny_model("qwen3").config.to_dict()
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["Qwen3ForCausalLM"]}))
    quantization = {"quantization_config": quantization_config(FP8_BLOCK)}
    asked = [{**keys, **quantization} for keys in configurations()]
    (tmp_path / "configurations.json").write_text(json.dumps(asked))
    run_ranks("accept", tmp_path, tp)
    reasons = json.loads((tmp_path / "reasons-0.json").read_text())
    refused = []
    for keys, reason in zip(configurations(), reasons, strict=True):
        assert not reason or "is not divisible by weight quantization block" in reason
        try:
            server = TargetServer(tp=tp, device="cuda", dtype="bfloat16", updates=True)
            check_servable(FP8_BLOCK, shapes_of(keys), keys["num_key_value_heads"], server)
            refused.append(False)
        except UserError:
            refused.append(True)
    assert refused == [bool(reason) for reason in reasons]
    assert {True, False} == set(refused)
