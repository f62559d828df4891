from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights import hf_folder
from rzero_mega.weights.bucket import Slot
from rzero_mega.weights.hf_folder import HfWeights, describe_weights, write_hf_folder
from rzero_mega.weights.model_files import INDEX, SINGLE


@pytest.fixture
def model(tiny_model: Callable[..., Any]) -> Any:
    return tiny_model("qwen3")


@pytest.fixture
def template(model: Any, tmp_path: Path) -> Path:
    """A base model's folder with a tokenizer's file, and weights that must not be copied."""
    folder = tmp_path / "template"
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    return folder


def tensors(model: Any) -> list[tuple[str, Tensor]]:
    return [(name, parameter.detach()) for name, parameter in model.named_parameters()]


@pytest.mark.parametrize("shard_bytes", [1, 20_000, 10**9])
def test_a_folder_written_in_shards_loads_in_transformers(
    shard_bytes: int, model: Any, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(hf_folder, "SHARD_BYTES", shard_bytes)
    out = tmp_path / "out"
    stream = [(name, tensor * 2) for name, tensor in tensors(model)]
    write_hf_folder(out, iter(stream), template)
    loaded, report = AutoModelForCausalLM.from_pretrained(out, dtype="auto", output_loading_info=True)
    assert not any(report.values())
    found = dict(loaded.named_parameters())
    assert all(torch.equal(found[name], tensor) for name, tensor in stream)
    files = sorted(file.name for file in out.glob("*.safetensors"))
    assert (files == [SINGLE]) == (shard_bytes == 10**9)
    assert (out / INDEX).is_file() == (len(files) > 1)
    if shard_bytes == 1:
        assert len(files) == len(stream)


def test_what_is_written_is_read_again(
    model: Any, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_folder, "SHARD_BYTES", 20_000)
    write_hf_folder(tmp_path / "out", tensors(model), template)
    with HfWeights(tmp_path / "out") as weights:
        assert weights.names() == sorted(name for name, _ in tensors(model))
        assert all(torch.equal(weights.tensor(name), tensor) for name, tensor in tensors(model))


def test_no_shard_exceeds_its_bytes_unless_one_tensor_does(
    model: Any, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_folder, "SHARD_BYTES", 20_000)
    write_hf_folder(tmp_path / "out", tensors(model), template)
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    sizes: dict[str, list[int]] = {}
    for name, tensor in tensors(model):
        sizes.setdefault(index["weight_map"][name], []).append(tensor.nbytes)
    assert all(sum(shard) <= 20_000 or len(shard) == 1 for shard in sizes.values())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for _, tensor in tensors(model))


def test_configuration_and_tokenizer_are_copied_and_old_weights_and_their_card_are_not(
    model: Any, template: Path, tmp_path: Path
) -> None:
    (template / "LICENSE").write_text("applies to what is made of it")
    (template / "README.md").write_text("# The base\n\nIt scores 12.")
    write_hf_folder(tmp_path / "out", tensors(model), template)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"config.json", "tokenizer.json", "LICENSE", SINGLE} <= names
    assert not {"pytorch_model.bin", "README.md"} & names


def test_a_tensor_is_on_disk_before_the_next_one_is_asked_for(
    model: Any, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_folder, "SHARD_BYTES", 20_000)
    written: list[int] = []

    def stream() -> Iterator[tuple[str, Tensor]]:
        for item in tensors(model):
            sizes = [file.stat().st_size - hf_folder.HEADER_BYTES for file in (tmp_path / "out").glob("shard-*")]
            written.append(sum(sizes) if written else 0)
            yield item

    write_hf_folder(tmp_path / "out", stream(), template)
    sizes = [tensor.nbytes for _, tensor in tensors(model)]
    assert written == [sum(sizes[:i]) for i in range(len(sizes))]


def test_a_shard_ends_where_its_header_is_full(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_folder, "HEADER_BYTES", 1024)
    stream = {f"tensor {i}": torch.full((2,), float(i)) for i in range(40)}
    write_hf_folder(tmp_path / "out", stream.items(), template)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 2
    with HfWeights(tmp_path / "out") as weights:
        assert weights.names() == sorted(stream)
        assert all(torch.equal(weights.tensor(name), tensor) for name, tensor in stream.items())


def test_a_shard_ends_before_a_tensor_that_would_not_be_aligned(template: Path, tmp_path: Path) -> None:
    stream = {"bytes": torch.arange(3, dtype=torch.uint8), "floats": torch.ones(2), "more": torch.zeros(1).byte()}
    write_hf_folder(tmp_path / "out", stream.items(), template)
    with HfWeights(tmp_path / "out") as weights:
        assert {name: weights.tensor(name).tolist() for name in stream} == {n: t.tolist() for n, t in stream.items()}


def test_views_of_a_bigger_tensor_are_written_alone(template: Path, tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(4, 3)
    write_hf_folder(tmp_path / "out", [("upper", whole[:2]), ("lower", whole[2:]), ("column", whole[:, 1])], template)
    with HfWeights(tmp_path / "out") as weights:
        assert torch.equal(weights.tensor("lower"), whole[2:])
        assert torch.equal(weights.tensor("column"), whole[:, 1])
    assert (tmp_path / "out" / SINGLE).stat().st_size == hf_folder.HEADER_BYTES + whole.nbytes + whole[:, 1].nbytes


def folder_with(path: Path, index: Any) -> Path:
    path.mkdir()
    save_file({"a": torch.zeros(2)}, path / "part.safetensors")
    (path / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))
    return path


@pytest.mark.parametrize("file", ["../secret.safetensors", "/etc/passwd", "sub/part.safetensors", "..", ""])
def test_an_index_that_points_outside_the_folder_is_refused(file: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "secret.safetensors")
    folder = folder_with(tmp_path / "model", {"weight_map": {"a": file}})
    with pytest.raises(UserError, match=INDEX), HfWeights(folder) as weights:
        weights.tensor("a")


@pytest.mark.parametrize("index", ["{", "[]", "null", '{"weight_map": []}', '{"weight_map": 3}', "{}"])
def test_an_index_that_is_none_is_refused(index: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=INDEX):
        HfWeights(folder_with(tmp_path / "model", index))


def test_a_missing_tensor_is_named(template: Path) -> None:
    with HfWeights(template) as weights, pytest.raises(UserError, match=r"no tensor model\.unheard_of"):
        weights.tensor("model.unheard_of")


def test_a_tensor_that_the_index_promises_and_its_file_lacks_is_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", {"weight_map": {"b": "part.safetensors"}})
    with HfWeights(folder) as weights, pytest.raises(UserError, match=r"part\.safetensors.* b\b"):
        weights.tensor("b")


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "model", {"weight_map": {"a": "gone.safetensors"}})
    with pytest.raises(UserError, match=r"gone\.safetensors"):
        HfWeights(folder)


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "pickle"])
def test_a_damaged_file_is_named(damage: str, template: Path) -> None:
    import pickle

    path = template / SINGLE
    content = {"empty": b"", "cut": path.read_bytes()[:-100], "noise": b"\xff" * 4096, "pickle": pickle.dumps([1])}
    path.write_bytes(content[damage])
    with pytest.raises(UserError, match=r"model\.safetensors: not readable as safetensors") as caught:
        HfWeights(template)
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=str(tmp_path)):
        HfWeights(tmp_path)


def fused_experts() -> dict[str, Tensor]:
    """Two layers of three experts with hidden 4 and ffn 5, as transformers holds them in memory."""
    return {
        f"model.layers.{layer}.mlp.experts.{name}": torch.randn(3, *size)
        for layer in range(2)
        for name, size in (("gate_up_proj", (10, 4)), ("down_proj", (4, 5)))
    }


@pytest.mark.parametrize("index", [True, False])
def test_fused_experts_are_read_as_split_ones(index: bool, tmp_path: Path) -> None:
    fused = fused_experts()
    save_file({**fused, "model.norm.weight": torch.ones(4)}, tmp_path / SINGLE)
    if index:
        weight_map = dict.fromkeys([*fused, "model.norm.weight"], SINGLE)
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    expected = {"model.norm.weight": torch.ones(4)}
    for layer in range(2):
        prefix = f"model.layers.{layer}.mlp.experts"
        for expert in range(3):
            gate, up = fused[f"{prefix}.gate_up_proj"][expert].chunk(2)
            down = fused[f"{prefix}.down_proj"][expert]
            for name, tensor in (("gate", gate), ("up", up), ("down", down)):
                expected[f"{prefix}.{expert}.{name}_proj.weight"] = tensor
    with HfWeights(tmp_path) as weights:
        assert weights.names() == sorted(expected)
        assert all(torch.equal(weights.tensor(name), tensor) for name, tensor in expected.items())
        assert all(weights.slot(name).shape == tensor.shape for name, tensor in expected.items())


def test_split_experts_are_read_as_they_are(tmp_path: Path) -> None:
    save_file({"model.layers.0.mlp.experts.1.up_proj.weight": torch.ones(2, 3)}, tmp_path / SINGLE)
    with HfWeights(tmp_path) as weights:
        assert weights.names() == ["model.layers.0.mlp.experts.1.up_proj.weight"]


def test_a_dtype_that_is_not_known_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2, dtype=torch.complex64)}, tmp_path / SINGLE)
    with pytest.raises(UserError, match=r"model\.safetensors.*C64"):
        HfWeights(tmp_path)


READ_ALL = """
import re, sys
from pathlib import Path
from rzero_mega.weights.hf_folder import HfWeights

def peak():
    # Not ru_maxrss, which begins with what the parent process had.
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

with HfWeights(Path(sys.argv[1])) as weights:
    first, *others = weights.names()
    weights.tensor(first).max()
    before = peak()
    for name in others:
        weights.tensor(name).max()
    print(peak() - before)
"""


def test_what_was_read_does_not_stay_in_memory(tmp_path: Path) -> None:
    size, count = 8 << 20, 32
    save_file({f"tensor {i}": torch.zeros(size, dtype=torch.uint8) for i in range(count)}, tmp_path / SINGLE)
    done = subprocess.run([sys.executable, "-c", READ_ALL, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < size * count / 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, {"dtype": "float32"}),
        ({"torch_dtype": "float16"}, {"torch_dtype": "float32"}),
        ({"dtype": "float32", "torch_dtype": "float32"}, {"dtype": "float32"}),
        ({}, {"dtype": "float32"}),
    ],
)
def test_a_configuration_names_the_dtype_of_the_tensors_once(
    before: dict[str, str], after: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(before))
    describe_weights(path, [[Slot("a", torch.float32, (2,), 0)]])
    assert json.loads(path.read_text()) == after
