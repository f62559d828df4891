from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from rzero_mega.learner.checkpoints.conversion.buffers import Scratch, one_ahead


def test_items_come_in_order_and_at_most_one_is_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(6):
            made.append(number)
            yield number

    for number in one_ahead(items()):
        assert len(made) <= number + 2
    assert made == list(range(6))


def test_an_error_while_an_item_is_made_reaches_who_asks_for_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    stream = one_ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_a_tensor_stays_valid_while_the_next_one_is_filled() -> None:
    scratch = Scratch()
    first = scratch.tensor((4, 3), torch.float32).fill_(1.0)
    second = scratch.tensor((5, 3), torch.float32).fill_(2.0)
    assert (first == 1.0).all()
    third = scratch.tensor((2, 2), torch.bfloat16).fill_(3.0)
    assert (second == 2.0).all()
    assert third.shape == (2, 2)


def test_a_tensor_s_storage_has_its_own_size_and_memory_is_used_again() -> None:
    scratch = Scratch()
    places = set()
    for rows in (8, 8, 3, 5, 8):
        tensor = scratch.tensor((rows, 2), torch.float32)
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
        places.add(tensor.data_ptr())
    assert len(places) == 2
