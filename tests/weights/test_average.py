from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rzero_mega.errors import UserError
from rzero_mega.weights.average import averaged


@pytest.fixture
def anchor(tmp_path: Path) -> Path:
    save_file({"a": torch.tensor([[1.0, 2.0], [3.0, -4.0]]), "b": torch.tensor([8.0])}, tmp_path / "model.safetensors")
    return tmp_path


def test_the_average_is_by_the_share_of_the_anchor(anchor: Path) -> None:
    stream = [("b", torch.tensor([4.0])), ("a", torch.tensor([[5.0, 2.0], [-1.0, 0.0]]))]
    found = dict(averaged(stream, 0.25, anchor))
    assert list(found) == ["b", "a"]
    assert found["b"].tolist() == [5.0] and found["a"].tolist() == [[4.0, 2.0], [0.0, -1.0]]


def test_a_share_of_zero_is_the_stream_itself_and_of_one_the_anchor(anchor: Path, tmp_path: Path) -> None:
    own = torch.tensor([0.1])
    ((_, unchanged),) = averaged([("b", own)], 0.0, tmp_path / "nowhere")
    assert unchanged is own
    assert dict(averaged([("b", own)], 1.0, anchor))["b"].tolist() == [8.0]


def test_the_average_is_taken_in_fp32_and_handed_on_in_the_dtype_of_the_stream(tmp_path: Path) -> None:
    """Added in bf16, 1/256 would vanish beside 1 before the sum is halved."""
    save_file({"w": torch.tensor([1.0 + 1 / 128])}, tmp_path / "model.safetensors")
    stream = [("w", torch.tensor([1.0 + 3 / 128], dtype=torch.bfloat16))]
    ((_, found),) = averaged(stream, 0.5, tmp_path)
    assert found.dtype is torch.bfloat16 and found.item() == 1.0 + 2 / 128


def test_weights_that_are_equal_stay_to_the_bit(tmp_path: Path) -> None:
    weights = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    save_file({"w": weights}, tmp_path / "model.safetensors")
    assert all(torch.equal(dict(averaged([("w", weights)], share, tmp_path))["w"], weights) for share in (0.1, 0.7))


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [("c", torch.ones(1), r"no tensor c"), ("b", torch.ones(2), r"b: shape \(1,\) can't be averaged with \(2,\)")],
)
def test_a_tensor_that_the_anchor_lacks_or_has_in_another_shape_is_named(
    anchor: Path, name: str, tensor: torch.Tensor, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        list(averaged([(name, tensor)], 0.5, anchor))
