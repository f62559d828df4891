"""Pickles whose values hold each other again and again are refused before anything is built of them."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints.pickle_bounds import check_bounds
from rzero_mega.learner.checkpoints.safe_files import check_files, tensor_names

LEVELS = 60


def metadata(tensors: int) -> Metadata:
    def entry(rows: int) -> TensorStorageMetadata:
        size = torch.Size([rows, 8])
        return TensorStorageMetadata(TensorProperties(), size, [ChunkStorageMetadata(torch.Size([0, 0]), size)] * 4)

    names = [f"decoder.layers.{number}.weight" for number in range(tensors)]
    return Metadata(
        {name: entry(number) for number, name in enumerate(names)}, storage_data={MetadataIndex(names[0]): 1}
    )


def doubled(value: Any, levels: int = LEVELS) -> Any:
    for _ in range(levels):
        value = (value, value)
    return value


class Doubled:
    """Objects that hold each other twice; their states are set after they are held, as protocol 2 and up allow."""

    def __init__(self) -> None:
        self.held: Any = None


def objects() -> Any:
    chain = [Doubled() for _ in range(LEVELS)]
    for before, after in pairwise(chain):
        after.held = (before, before)
    return chain[-1]


def late_states() -> bytes:
    """Tuples of empty objects first, and only then what these hold."""
    make = b"\x80\x02" + b"".join(
        b"c__main__\nX\n)\x81" + b"q" + bytes([2 * i]) + b"h" + bytes([2 * i]) + b"\x86" + b"q" + bytes([2 * i + 1])
        for i in range(LEVELS)
    )
    fill = b"".join(b"h" + bytes([2 * i]) + b"h" + bytes([2 * i - 1]) + b"b0" for i in range(1, LEVELS))
    return make + fill + b"."


def nested_dicts() -> Any:
    value: Any = {}
    for _ in range(LEVELS):
        value = {"a": value, "b": value}
    return value


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(doubled(())),
        pickle.dumps({doubled((), 20): 1}),
        pickle.dumps([doubled("x")]),
        pickle.dumps(objects()),
        pickle.dumps(nested_dicts()),
        pickle.dumps(frozenset([doubled(1, 20)])),
        late_states(),
    ],
    ids=["tuples", "a key", "in a list", "objects", "dictionaries", "a set", "states set late"],
)
def test_values_that_hold_each_other_without_end_are_refused(data: bytes) -> None:
    with pytest.raises(UserError, match="refused"):
        check_bounds(data, "x")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_a_checkpoint_holds_passes_in_every_protocol(protocol: int) -> None:
    check_bounds(pickle.dumps(metadata(3000), protocol), "x")
    state = {"step": 3, "groups": [{"lr": 0.1, "betas": (0.9, 0.95)}] * 50, "size": torch.Size([3])}
    check_bounds(pickle.dumps(state, protocol), "x")


@pytest.mark.parametrize("data", [b"", b".", b"\x80\x04", b"no pickle", b"\x80\x04h\x05.", b"\x80\x04\x86."])
def test_what_is_no_pickle_is_one_line(data: bytes) -> None:
    with pytest.raises(UserError, match="x: not readable as a pickle"):
        check_bounds(data, "x")


def test_metadata_that_would_hash_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps({doubled((), 20): metadata(2)}))
    with pytest.raises(UserError, match=r"\.metadata: .*refused"):
        tensor_names(tmp_path)


@pytest.mark.parametrize("entries", [{MetadataIndex("x"): 1}, 3, [1], {1: None}])
def test_entries_that_are_none_are_one_line(tmp_path: Path, entries: Any) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata({}, storage_data=entries)))
    (tmp_path / "metadata.json").write_text("{}")
    torch.save({}, tmp_path / "common.pt")
    with pytest.raises(UserError, match=r"\.metadata: malformed"):
        check_files(tmp_path)


def test_a_common_state_that_would_print_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Metadata({}, storage_data={})))
    (tmp_path / "metadata.json").write_text("{}")
    torch.save({"shape": {"layers": doubled(1)}}, tmp_path / "common.pt")
    with pytest.raises(UserError, match=r"common\.pt: .*refused"):
        check_files(tmp_path)
