from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from rzero_mega.errors import UserError
from rzero_mega.weights.bucket import to_buckets
from rzero_mega.weights.shape import shape_of
from rzero_mega.weights.verification.checksums import ExpectedChecksums, check_checksums
from rzero_mega.weights.verification.gpu_hash import GpuHash
from tests.weights.updates import RecordingServer, named_tensors

EVEN = {"vocab_size": 128, "intermediate_size": 128, "moe_intermediate_size": 64}


def sha(*tensors: Tensor) -> str:
    raw = b"".join(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for t in tensors)
    return hashlib.sha256(raw).hexdigest()[:16]


def of_gpu(*tensors: Tensor) -> str:
    raw = torch.cat([t.contiguous().reshape(-1).view(torch.uint8) for t in tensors])
    found = GpuHash(raw.numel())
    found.feed(0, raw)
    return found.hexdigest()


def expected_of(model: Any, tp: int = 1, dtype: torch.dtype = torch.float32, device: str = "cpu") -> ExpectedChecksums:
    expected = ExpectedChecksums(shape_of(model.config), tp, dtype, device)
    for name, tensor in named_tensors(model).items():
        expected.add(name, tensor)
    return expected


@pytest.mark.parametrize("tp", [1, 2])
def test_fused_and_cut_tensors_hash_like_the_servers(tp: int, tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("qwen3", **EVEN)
    hf = named_tensors(model)
    layer = "model.layers.1."
    for rank, found in enumerate(expected_of(model, tp).by_rank()):

        def cut(name: str, dim: int, rank: int = rank) -> Tensor:
            return hf[name].chunk(tp, dim)[rank]

        attention, mlp = f"{layer}self_attn.", f"{layer}mlp."
        assert found[f"{attention}qkv_proj.weight"] == sha(*(cut(f"{attention}{c}_proj.weight", 0) for c in "qkv"))
        assert found[f"{attention}o_proj.weight"] == sha(cut(f"{attention}o_proj.weight", 1))
        gate, up = (cut(f"{mlp}{c}_proj.weight", 0) for c in ("gate", "up"))
        assert found[f"{mlp}gate_up_proj.weight"] == sha(gate, up)
        assert found[f"{mlp}down_proj.weight"] == sha(cut(f"{mlp}down_proj.weight", 1))
        assert found["lm_head.weight"] == sha(cut("lm_head.weight", 0))
        assert found[f"{attention}q_norm.weight"] == sha(hf[f"{attention}q_norm.weight"])


def test_on_gpus_ranks_share_a_head_of_keys_and_nothing_but_the_vocabulary_is_padded(
    tiny_model: Callable[..., Any],
) -> None:
    """As SGLang's layers are cut on GPUs; no server there has been seen."""
    model = tiny_model("llama", num_key_value_heads=1, vocab_size=100)
    hf = named_tensors(model)
    attention = "model.layers.1.self_attn."
    for rank, found in enumerate(expected_of(model, 2, device="cuda").by_rank()):
        query = hf[f"{attention}q_proj.weight"].chunk(2)[rank]
        both = [hf[f"{attention}{c}_proj.weight"] for c in "kv"]
        assert found[f"{attention}qkv_proj.weight"] == of_gpu(query, *both)
        down = hf["model.layers.1.mlp.down_proj.weight"].chunk(2, 1)[rank]
        assert found["model.layers.1.mlp.down_proj.weight"] == of_gpu(down)
        rows = torch.cat([hf["lm_head.weight"], torch.zeros(28, 48)]).chunk(2)[rank]
        assert found["lm_head.weight"] == of_gpu(rows)


def test_on_gpus_what_is_hashed_is_in_the_server_s_dtype_and_counted(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("qwen3_moe", **EVEN)
    expected = expected_of(model, dtype=torch.bfloat16, device="cuda")
    hf = {name: tensor.to(torch.bfloat16) for name, tensor in named_tensors(model).items()}
    prefix = "model.layers.0.mlp.experts."
    gates_and_ups = [hf[f"{prefix}{e}.{c}_proj.weight"] for e in range(6) for c in ("gate", "up")]
    assert expected.by_rank()[0][f"{prefix}w13_weight"] == of_gpu(*gates_and_ups)
    assert expected.nbytes == sum(tensor.nbytes for tensor in hf.values()) and expected.seconds > 0


def test_experts_lie_one_after_another_gate_before_up(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("qwen3_moe", **EVEN)
    hf = named_tensors(model)
    (found,) = expected_of(model).by_rank()
    prefix = "model.layers.0.mlp.experts."
    gates_and_ups = [hf[f"{prefix}{e}.{c}_proj.weight"] for e in range(6) for c in ("gate", "up")]
    assert found[f"{prefix}w13_weight"] == sha(*gates_and_ups)
    assert found[f"{prefix}w2_weight"] == sha(*(hf[f"{prefix}{e}.down_proj.weight"] for e in range(6)))
    assert found["model.layers.0.mlp.gate.weight"] == sha(hf["model.layers.0.mlp.gate.weight"])


def test_a_router_with_a_bias_is_hashed_in_fp32_whatever_the_server_s_dtype_is(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("glm4_moe", **EVEN)
    hf = named_tensors(model)
    (found,) = expected_of(model, dtype=torch.bfloat16).by_rank()
    for name in ("weight", "e_score_correction_bias"):
        assert found[f"model.layers.1.mlp.gate.{name}"] == sha(hf[f"model.layers.1.mlp.gate.{name}"])
    shared = [hf[f"model.layers.1.mlp.shared_experts.{c}_proj.weight"].bfloat16() for c in ("gate", "up")]
    assert found["model.layers.1.mlp.shared_experts.gate_up_proj.weight"] == sha(*shared)
    assert "model.layers.0.mlp.gate_up_proj.weight" in found


def test_what_a_rank_lacks_counts_as_zeros(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("llama", num_key_value_heads=1)
    hf = named_tensors(model)
    _, second = expected_of(model, tp=2).by_rank()
    # Vocabulary 61 fills 64 rows; one head of keys becomes two, and the queries follow; 80 of feed-forward become 128.
    missing = torch.zeros(3, 48)
    assert second["model.embed_tokens.weight"] == sha(hf["model.embed_tokens.weight"][32:], missing)
    assert second["model.layers.0.self_attn.qkv_proj.weight"] == sha(torch.zeros(4 * 16 + 2 * 16, 48))
    down = torch.cat([hf["model.layers.0.mlp.down_proj.weight"][:, 64:], torch.zeros(48, 48)], 1)
    assert second["model.layers.0.mlp.down_proj.weight"] == sha(down)


@pytest.mark.parametrize(
    ("family", "keys"), [("qwen2", {"tie_word_embeddings": True}), ("qwen3_moe", {}), ("glm4_moe", {})]
)
def test_the_order_of_the_stream_does_not_matter(
    family: str, keys: dict[str, Any], tiny_model: Callable[..., Any]
) -> None:
    model = tiny_model(family, **keys)
    backwards = ExpectedChecksums(shape_of(model.config), 2, torch.float32)
    for name, tensor in reversed(named_tensors(model).items()):
        backwards.add(name, tensor)
    assert backwards.by_rank() == expected_of(model, 2).by_rank()


def test_watching_changes_nothing_and_hashes_in_the_server_s_dtype(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("qwen3")
    watching = ExpectedChecksums(shape_of(model.config), 1, torch.bfloat16)
    seen: dict[str, Tensor] = {}
    for bucket in watching.watch(to_buckets(named_tensors(model).items(), 10_000)):
        seen |= {name: tensor.clone() for name, tensor in bucket.tensors()}
    assert all(torch.equal(seen[name], tensor) for name, tensor in named_tensors(model).items())
    assert watching.by_rank() == expected_of(model.to(torch.bfloat16), 1, torch.bfloat16).by_rank()


def test_tensors_that_never_came_came_twice_or_have_no_place_are_named(tiny_model: Callable[..., Any]) -> None:
    model = tiny_model("qwen3", tie_word_embeddings=True)
    expected = ExpectedChecksums(shape_of(model.config), 1, torch.float32)
    hf = named_tensors(model)
    last = list(hf)[-1]
    for name, tensor in hf.items():
        if name != last:
            expected.add(name, tensor)
    with pytest.raises(UserError, match=last):
        expected.by_rank()
    expected.add(last, hf[last])
    expected.by_rank()
    with pytest.raises(UserError, match=f"{last}: sent twice"):
        expected.add(last, hf[last])
    with pytest.raises(UserError, match=r"lm_head\.weight: no tensor"):
        expected.add("lm_head.weight", hf[last])


def test_differences_name_rank_server_tensor_and_what_it_is_made_of(tiny_model: Callable[..., Any]) -> None:
    expected = expected_of(tiny_model("qwen3"), 2)
    reported = [dict(rank) for rank in expected.by_rank()]
    assert expected.differences(reported) == []
    fused, plain, extra = "model.layers.1.self_attn.qkv_proj.weight", "model.norm.weight", "model.visual.weight"
    reported[1][fused] = "0" * 16
    reported[0][plain] = reported[0]["lm_head.weight"]
    reported[0][extra] = "1" * 16
    del reported[1]["lm_head.weight"]
    lines = expected.differences(reported)
    parts = ", ".join(f"model.layers.1.self_attn.{c}_proj.weight" for c in "qkv")
    assert lines == [
        f"rank 0 has {extra}, for which nothing was sent",
        f"rank 0 {plain} (made of {plain}); it holds the values of lm_head.weight",
        "rank 1 has no lm_head.weight",
        f"rank 1 {fused} (made of {parts})",
    ]
    assert expected.differences(reported[:1]) == ["the server reports 1 ranks and not 2"]


@pytest.mark.parametrize(
    ("info", "reason"),
    [({"device": "cuda"}, "on cuda"), ({"device": "xpu"}, "on xpu"), ({"quantization": "fp8"}, "fp8 weights")],
)
def test_where_checksums_cannot_be_compared_the_result_says_so(
    info: dict[str, Any], reason: str, tiny_model: Callable[..., Any]
) -> None:
    server = RecordingServer()
    server.answers["server_info"] = info
    result = check_checksums(server, expected_of(tiny_model("qwen3")), "3")
    assert not result.available and reason in result.detail and server.calls == []
