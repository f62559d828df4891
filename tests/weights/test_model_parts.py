"""A model's folder in parts: which rank writes what, and what a rank alone leaves when a write goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rzero_mega.atomic import sha256
from rzero_mega.errors import UserError
from rzero_mega.weights import hf_folder, model_parts
from rzero_mega.weights.hf_folder import write_hf_folder
from rzero_mega.weights.model_parts import plan_parts, write_model


@pytest.fixture
def template(tiny_model: Callable[..., Any], tmp_path: Path) -> Path:
    tiny_model("qwen3").save_pretrained(tmp_path / "template")
    (tmp_path / "template" / "tokenizer.json").write_text("{}")
    return tmp_path / "template"


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_folder, "SHARD_BYTES", 600)


def tensors(count: int = 9) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {f"layer {i}": torch.randn(i + 3, 8, generator=draw) for i in range(count)}


def described(of: dict[str, Tensor]) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
    return [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in of.items()]


def write(path: Path, template: Path, stream: Iterator[tuple[str, Tensor]]) -> dict[str, tuple[str, int]]:
    return write_model(path, plan_parts(described(tensors()), 1), stream, stream, template)


@given(st.integers(1, 40), st.integers(1, 70))
def test_files_are_spread_evenly_and_do_not_depend_on_how_many_ranks_there_are(count: int, ranks: int) -> None:
    parts = plan_parts(described(tensors(count)), ranks)
    assert [(p.file, p.slots) for p in parts] == [(p.file, p.slots) for p in plan_parts(described(tensors(count)), 1)]
    written = [sum(part.rank == rank for part in parts) for rank in range(ranks)]
    assert max(written) - min(written) <= 1
    assert [part.rank for part in parts] == sorted(part.rank for part in parts)


@pytest.mark.parametrize(("shard_bytes", "header"), [(1, 1024), (600, 1024), (600, 512), (10**9, 1024)])
def test_the_files_are_those_of_one_stream_byte_for_byte(
    shard_bytes: int, header: int, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hf_folder, "SHARD_BYTES", shard_bytes)
    for module in (hf_folder, model_parts):
        monkeypatch.setattr(module, "HEADER_BYTES", header)
    write_hf_folder(tmp_path / "streamed", tensors().items(), template)
    written = write(tmp_path / "parts", template, iter(tensors().items()))
    files = {file.name: (sha256(file), file.stat().st_size) for file in (tmp_path / "streamed").iterdir()}
    assert written == files
    assert {file.name: (sha256(file), file.stat().st_size) for file in (tmp_path / "parts").iterdir()} == files


def test_a_folder_that_was_there_stays_when_the_stream_breaks(template: Path, tmp_path: Path) -> None:
    before = write(tmp_path / "model", template, iter(tensors().items()))

    def broken() -> Iterator[tuple[str, Tensor]]:
        yield from list(tensors().items())[:5]
        raise UserError("the base model has no tensor layer 5")

    with pytest.raises(UserError, match="no tensor layer 5"):
        write(tmp_path / "model", template, broken())
    assert {path.name for path in tmp_path.iterdir()} == {"model", "template"}
    assert {file.name: sha256(file) for file in (tmp_path / "model").iterdir()} == {
        f: h for f, (h, _) in before.items()
    }


def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_parts, "fsync_file", full)
    with pytest.raises(UserError, match="model: no space left"):
        write(tmp_path / "model", template, iter(tensors().items()))
    assert [path.name for path in tmp_path.iterdir()] == ["template"]


def test_a_file_that_the_first_rank_does_not_see_says_that_the_folder_is_not_shared(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_parts, "fsync_file", lambda file: None)
    real = model_parts._complete

    def on_another_machine(path: Path, aside: Path, written: dict[str, tuple[str, int]]) -> dict[str, tuple[str, int]]:
        (aside / max(written)).unlink()
        return real(path, aside, written)

    monkeypatch.setattr(model_parts, "_complete", on_another_machine)
    with pytest.raises(UserError, match=r"model-00005-of-00005.safetensors: .* run.root must be a folder that all"):
        write(tmp_path / "model", template, iter(tensors().items()))
    assert [path.name for path in tmp_path.iterdir()] == ["template"]


def test_a_tensor_that_is_not_the_one_expected_is_never_written(template: Path, tmp_path: Path) -> None:
    swapped = list(tensors().items())
    swapped[2], swapped[3] = swapped[3], swapped[2]
    with pytest.raises(ValueError, match=r"layer 3 .* where .*layer 2"):
        write(tmp_path / "model", template, iter(swapped))
    assert [path.name for path in tmp_path.iterdir()] == ["template"]
