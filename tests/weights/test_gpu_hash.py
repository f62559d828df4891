"""The hash of servers on GPUs, computed on this CPU: the same as SGLang's own kernels compute, in any pieces."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rzero_mega.weights.verification import gpu_hash
from rzero_mega.weights.verification.gpu_hash import GpuHash


def content(words: int) -> Tensor:
    return torch.arange(words, dtype=torch.int32) * -1640531527


def odd_content(elements: int) -> Tensor:
    """bfloat16 that ends within a word."""
    return content(elements).view(torch.int16)[:elements].view(torch.bfloat16)


def whole(tensor: Tensor) -> str:
    found = GpuHash(tensor.nbytes)
    found.feed(0, tensor)
    return found.hexdigest()


# By SGLang 0.5.23's gpu_tensor_hash, its kernels run in Triton 3.4's interpreter on a CPU.
@pytest.mark.parametrize(
    ("tensor", "digest"),
    [
        (content(1), "3d93a6540b54ef2a"),
        (content(3), "d5eaa5ec471e69ef"),
        (content(8192), "c99fda414d85c004"),
        (content(8193), "df6738dbbd4931c4"),
        (content(40_000), "da10277284ff1d21"),
        (odd_content(1), "3d93a6540b54ef2a"),
        (odd_content(50_001), "afdb1b90a7c8bd08"),
    ],
)
def test_the_hash_is_sglang_s(tensor: Tensor, digest: str) -> None:
    assert whole(tensor) == digest


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 20_000), max_size=4), order=st.randoms())
def test_pieces_come_as_they_like(cuts: list[int], order: random.Random) -> None:
    tensor = content(20_000)
    pieces = [(4 * start, tensor[start:end]) for start, end in itertools.pairwise([0, *sorted(cuts), 20_000])]
    order.shuffle(pieces)
    found = GpuHash(tensor.nbytes)
    for offset, piece in pieces:
        found.feed(offset, piece)
    assert found.hexdigest() == whole(tensor)


def test_what_is_worked_on_at_a_time_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = content(50_000)
    at_once = whole(tensor)
    monkeypatch.setattr(gpu_hash, "CHUNK", 3 * gpu_hash.TILE)
    assert whole(tensor) == at_once


def test_one_bit_or_one_word_in_another_place_makes_another_hash() -> None:
    tensor = content(20_000)
    flipped, moved = tensor.clone(), tensor.clone()
    flipped[12_345] ^= 1
    moved[[7, 8]] = moved[[8, 7]]
    assert len({whole(tensor), whole(flipped), whole(moved), whole(tensor[:-1])}) == 4


def test_a_piece_that_begins_within_a_word_of_its_buffer_is_read_all_the_same() -> None:
    buffer = odd_content(2001)
    assert whole(buffer[1:]) == whole(buffer[1:].clone())
