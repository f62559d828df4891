"""Buckets hold tensors end to end: none is lost, none is cut, every one is aligned."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import TOGETHER, Bucket, divisible, plan_buckets, to_buckets
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.shape import ModelShape
from rzero_mega.weights.verification.stream import checked_stream

DTYPES = [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int64]


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, Tensor]]:
    count = draw(st.integers(1, 12))
    shapes = [tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))) for _ in range(count)]
    dtypes = [draw(st.sampled_from(DTYPES)) for _ in range(count)]
    return [(f"t{i}", torch.full(s, i + 1.0).to(d)) for i, (s, d) in enumerate(zip(shapes, dtypes, strict=True))]


@given(streams(), st.integers(1, 500))
def test_every_tensor_arrives_in_order_with_its_bytes(tensors: list[tuple[str, Tensor]], limit: int) -> None:
    buckets = list(to_buckets(tensors, limit))
    arrived = [pair for bucket in buckets for pair in bucket.tensors()]
    assert [name for name, _ in arrived] == [name for name, _ in tensors]
    for (_, found), (_, sent) in zip(arrived, tensors, strict=True):
        assert found.dtype == sent.dtype and found.shape == sent.shape
        assert torch.equal(found.reshape(-1).view(torch.uint8), sent.reshape(-1).view(torch.uint8))


@given(streams(), st.integers(1, 500))
def test_a_bucket_has_no_gaps_is_aligned_and_within_its_limit(tensors: list[tuple[str, Tensor]], limit: int) -> None:
    for slots in plan_buckets(((name, t.dtype, tuple(t.shape)) for name, t in tensors), limit):
        end = 0
        for slot in slots:
            assert slot.start == end and slot.start % slot.dtype.itemsize == 0
            end = slot.stop
        assert end <= limit or len(slots) == 1


@given(streams(), st.integers(1, 500))
def test_two_tensors_that_a_server_packs_in_one_call_share_a_bucket(
    tensors: list[tuple[str, Tensor]], limit: int
) -> None:
    pairs = [(f"model.layers.{name}.self_attn.{end}", tensor) for name, tensor in tensors for end in TOGETHER]
    for slots in plan_buckets(((name, t.dtype, tuple(t.shape)) for name, t in pairs), limit):
        assert [slot.name.endswith(TOGETHER[0]) for slot in slots] == [True, False] * (len(slots) // 2)
        assert slots[-2].stop <= limit or len(slots) == 2
    least = plan_buckets(((name, t.dtype, tuple(t.shape)) for name, t in [*pairs, *tensors]), 0)
    assert not any(divisible(slots) for slots in least) and {len(slots) for slots in least} == {1, 2}


@given(streams(), st.integers(1, 500))
def test_copied_buckets_are_those_of_the_plan(tensors: list[tuple[str, Tensor]], limit: int) -> None:
    plan = plan_buckets(((name, t.dtype, tuple(t.shape)) for name, t in tensors), limit)
    assert [bucket.slots for bucket in to_buckets(tensors, limit)] == plan


def shape() -> ModelShape:
    return ModelShape("llama", 1, 4, 6, 2, 1, 2, 5, 16, 1e-6, 1e4, None, True, False, False)


def model() -> dict[str, Tensor]:
    return {name: torch.ones(size) for e in entries(shape()) for name, size in zip(e.hf, e.sizes, strict=True)}


def through(tensors: list[tuple[str, Tensor]]) -> list[Bucket]:
    return list(checked_stream(to_buckets(tensors, 60), shape()))


def test_a_stream_of_exactly_the_models_tensors_passes_in_any_order() -> None:
    tensors = list(model().items())
    assert sum(len(bucket.slots) for bucket in through(tensors[::-1])) == len(tensors)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "model.norm.weight is missing from the update"),
        ("unknown", "lm_head.weight is not one of the model's"),
        ("twice", "model.norm.weight came twice"),
        ("shape", r"model.norm.weight has shape \[3\], the model's has \[4\]"),
    ],
)
def test_a_stream_that_is_anything_else_is_refused_by_the_tensors_name(fault: str, message: str) -> None:
    tensors = model()
    if fault == "missing":
        del tensors["model.norm.weight"]
    elif fault == "unknown":
        tensors["lm_head.weight"] = torch.ones(5, 4)
    elif fault == "shape":
        tensors["model.norm.weight"] = torch.ones(3)
    items = [*tensors.items(), *([("model.norm.weight", torch.ones(4))] if fault == "twice" else [])]
    with pytest.raises(UserError, match=message):
        through(items)
