from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights import hf_folder
from rzero_mega.weights.hf_folder import INDEX, SINGLE, HfWeights, write_hf_folder


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


def test_configuration_and_tokenizer_are_copied_and_old_weights_are_not(
    model: Any, template: Path, tmp_path: Path
) -> None:
    write_hf_folder(tmp_path / "out", tensors(model), template)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"config.json", "tokenizer.json", SINGLE} <= names
    assert "pytorch_model.bin" not in names


def test_the_stream_is_consumed_one_shard_at_a_time(
    model: Any, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_folder, "SHARD_BYTES", 1)
    written: list[int] = []

    def stream() -> Iterator[tuple[str, Tensor]]:
        for item in tensors(model):
            written.append(len(list((tmp_path / "out").glob("shard-*"))))
            yield item

    write_hf_folder(tmp_path / "out", stream(), template)
    assert written == [max(0, i - 1) for i in range(len(written))]


def test_views_of_a_bigger_tensor_are_written_alone(template: Path, tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(4, 3)
    write_hf_folder(tmp_path / "out", [("upper", whole[:2]), ("lower", whole[2:]), ("column", whole[:, 1])], template)
    with HfWeights(tmp_path / "out") as weights:
        assert torch.equal(weights.tensor("lower"), whole[2:])
        assert torch.equal(weights.tensor("column"), whole[:, 1])
    assert (tmp_path / "out" / SINGLE).stat().st_size < 1000


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
    with HfWeights(folder) as weights, pytest.raises(UserError, match=r"gone\.safetensors"):
        weights.tensor("a")


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
