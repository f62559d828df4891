from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from rzero_mega.weights.bucket import Slot, to_buckets
from rzero_mega.weights.safetensors_file import DTYPE_NAMES, SafetensorsWriter, write_safetensors


def tensor_of(dtype: torch.dtype, *shape: int) -> Tensor:
    """Random bits; the same for the same arguments."""
    count = torch.Size(shape).numel() * dtype.itemsize
    high = 2 if dtype == torch.bool else 256
    data = torch.randint(0, high, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(len(shape)))
    return data.view(dtype).view(shape)


def equal_bits(a: Tensor, b: Tensor) -> bool:
    as_bytes = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*as_bytes)


def slots_of(tensors: dict[str, Tensor]) -> list[Slot]:
    slots: list[Slot] = []
    for name, tensor in tensors.items():
        slots.append(Slot(name, tensor.dtype, tuple(tensor.shape), slots[-1].stop if slots else 0))
    return slots


@pytest.mark.parametrize("dtype", DTYPE_NAMES)
@pytest.mark.parametrize("shape", [(3, 5, 8), (4,), (), (0, 7)])
def test_the_library_reads_back_every_dtype_and_shape_to_the_bit(
    dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path
) -> None:
    tensors = {"first": tensor_of(dtype, 4, 2), "second": tensor_of(dtype, *shape)}
    write_safetensors(tmp_path / "file", slots_of(tensors), tensors.values())
    found = load_file(tmp_path / "file")
    assert list(found) == list(tensors)
    assert all(equal_bits(found[name], tensor) for name, tensor in tensors.items())


def test_the_file_says_that_its_tensors_are_torch_s(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", slots_of({"a": torch.zeros(3)}), [torch.zeros(3)])
    with safe_open(tmp_path / "file", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_file_without_tensors_is_readable(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "file", [], [])
    assert load_file(tmp_path / "file") == {}


def test_names_may_hold_any_character(tmp_path: Path) -> None:
    tensors = {'quote " and \\': torch.ones(2), "größe": torch.zeros(1)}
    write_safetensors(tmp_path / "file", slots_of(tensors), tensors.values())
    assert set(load_file(tmp_path / "file")) == set(tensors)


def test_a_bucket_is_written_as_one_run_of_bytes(tmp_path: Path) -> None:
    tensors = {"a": tensor_of(torch.bfloat16, 3, 4), "b": tensor_of(torch.float32, 5), "c": tensor_of(torch.int8, 7)}
    (bucket,) = to_buckets(tensors.items(), limit=1 << 20)
    write_safetensors(tmp_path / "file", bucket.slots, [bucket.data])
    found = load_file(tmp_path / "file")
    assert all(equal_bits(found[name], tensor) for name, tensor in tensors.items())


def test_data_may_be_cut_anywhere(tmp_path: Path) -> None:
    tensor = tensor_of(torch.float32, 6, 4)
    whole = tensor.view(torch.uint8).reshape(-1)
    write_safetensors(tmp_path / "file", slots_of({"a": tensor}), [whole[:1], whole[1:50], whole[50:]])
    assert equal_bits(load_file(tmp_path / "file")["a"], tensor)


def test_a_view_is_written_in_its_own_order(tmp_path: Path) -> None:
    view = tensor_of(torch.float32, 6, 4).T[1:3]
    write_safetensors(tmp_path / "file", slots_of({"a": view}), [view])
    assert equal_bits(load_file(tmp_path / "file")["a"], view)


@pytest.mark.parametrize("count", [0, 3, 5])
def test_data_of_another_length_is_an_error_and_leaves_no_file(count: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        write_safetensors(tmp_path / "file", slots_of({"a": torch.zeros(4)}), [torch.zeros(count)])
    assert not (tmp_path / "file").exists()


def test_a_stream_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    def stream() -> Iterator[Tensor]:
        yield torch.zeros(2)
        raise RuntimeError("the sender died")

    with pytest.raises(RuntimeError, match="sender"):
        write_safetensors(tmp_path / "file", slots_of({"a": torch.zeros(4)}), stream())
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("start", [0, 4, 12])
def test_slots_with_gaps_or_overlaps_are_an_error(start: int, tmp_path: Path) -> None:
    slots = [Slot("a", torch.float32, (2,), 0), Slot("b", torch.float32, (2,), start)]
    with pytest.raises(ValueError, match="b starts at"):
        write_safetensors(tmp_path / "file", slots, [torch.zeros(4)])
    assert not (tmp_path / "file").exists()


def test_two_tensors_of_one_name_are_an_error(tmp_path: Path) -> None:
    slots = [Slot("a", torch.float32, (2,), 0), Slot("a", torch.float32, (2,), 8)]
    with pytest.raises(ValueError, match="same name"):
        write_safetensors(tmp_path / "file", slots, [torch.zeros(4)])


def test_tensors_added_one_by_one_are_read_back(tmp_path: Path) -> None:
    tensors = {f"tensor {i}": tensor_of(torch.bfloat16, i, 3) for i in range(20)}
    with SafetensorsWriter(tmp_path / "file", header_bytes=4096) as writer:
        for name, tensor in tensors.items():
            writer.add(name, tensor)
    found = load_file(tmp_path / "file")
    assert all(equal_bits(found[name], tensor) for name, tensor in tensors.items())
    assert (tmp_path / "file").stat().st_size == 4096 + sum(tensor.nbytes for tensor in tensors.values())


def test_tensors_are_taken_until_the_header_is_full(tmp_path: Path) -> None:
    count = 0
    with SafetensorsWriter(tmp_path / "file", header_bytes=1024) as writer:
        while writer.contents.takes(f"tensor {count}", torch.float32, (2,)):
            writer.add(f"tensor {count}", torch.zeros(2))
            count += 1
        with pytest.raises(ValueError, match=f"tensor {count}"):
            writer.add(f"tensor {count}", torch.zeros(2))
    assert len(load_file(tmp_path / "file")) == count > 5


def test_a_tensor_that_would_not_be_aligned_is_not_taken(tmp_path: Path) -> None:
    with SafetensorsWriter(tmp_path / "file", header_bytes=1024) as writer:
        writer.add("bytes", torch.zeros(3, dtype=torch.uint8))
        assert not writer.contents.takes("floats", torch.float32, (1,))
        assert writer.contents.takes("more bytes", torch.uint8, (1,))


def test_a_block_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="died"), SafetensorsWriter(tmp_path / "file", 1024) as writer:
        writer.add("a", torch.zeros(2))
        raise RuntimeError("died")
    assert not (tmp_path / "file").exists()
