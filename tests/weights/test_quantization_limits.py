"""What SGLang could not serve in FP8 is said before a server starts: all of it, in one line."""

from __future__ import annotations

import pytest

from rzero_mega.errors import UserError
from rzero_mega.weights.quantization.scheme import FP8_BLOCK, FP8_TENSOR, Scheme
from rzero_mega.weights.quantization.server_limits import TargetServer, check_servable


def tensors(q: int, kv: int, ffn: int, layers: int = 3) -> list[tuple[str, tuple[int, ...]]]:
    found: list[tuple[str, tuple[int, ...]]] = [("lm_head.weight", (1001, 300)), ("model.norm.weight", (300,))]
    for layer in range(layers):
        for name, shape in {
            "self_attn.q_proj": (q, 300),
            "self_attn.k_proj": (kv, 300),
            "self_attn.v_proj": (kv, 300),
            "self_attn.o_proj": (300, q),
            "mlp.gate_proj": (ffn, 300),
            "mlp.up_proj": (ffn, 300),
            "mlp.down_proj": (300, ffn),
        }.items():
            found.append((f"model.layers.{layer}.{name}.weight", shape))
    return found


def gpu(tp: int, dtype: str = "bfloat16", updates: bool = True) -> TargetServer:
    return TargetServer(tp=tp, device="cuda", dtype=dtype, updates=updates)


def refusal(scheme: Scheme, found: list[tuple[str, tuple[int, ...]]], kv_heads: int, server: TargetServer) -> str:
    with pytest.raises(UserError) as caught:
        check_servable(scheme, found, kv_heads, server)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_whole_blocks_pass(tp: int) -> None:
    check_servable(FP8_BLOCK, tensors(q=1024, kv=512, ffn=1536), 4, gpu(tp))


def test_one_process_needs_whole_blocks_in_fused_layers_alone() -> None:
    """The columns of a row-parallel layer are cut over processes, never fused: any number will do for one."""
    check_servable(FP8_BLOCK, [("model.layers.0.self_attn.o_proj.weight", (300, 200))], 1, gpu(1))
    check_servable(FP8_BLOCK, [("model.layers.0.mlp.experts.5.down_proj.weight", (300, 200))], 1, gpu(1))


def test_every_violation_is_in_one_message_with_layers_told_once() -> None:
    message = refusal(FP8_BLOCK, tensors(q=512, kv=256, ffn=384), 2, gpu(2))
    for part in (
        "model.layers.*.mlp.gate_proj.weight (192 rows)",
        "model.layers.*.mlp.up_proj.weight (192 rows)",
        "model.layers.*.mlp.down_proj.weight (192 columns)",
    ):
        assert message.count(part) == 1
    assert "_proj.weight (128" not in message and "lm_head" not in message
    assert message.startswith("weights.quantization fp8_block: SGLang needs multiples of 128")
    assert message.endswith("set rollout.sglang.tp to 1, now 2, or weights.quantization to none")


def test_the_largest_number_of_processes_that_works_is_advised() -> None:
    assert "rollout.sglang.tp to 2, now 8" in refusal(FP8_BLOCK, tensors(q=1024, kv=256, ffn=256), 2, gpu(8))


def test_shapes_that_no_number_of_processes_mends_say_so() -> None:
    found = tensors(q=512, kv=64, ffn=256)
    assert "no rollout.sglang.tp mends that; set weights.quantization to none" in refusal(FP8_BLOCK, found, 1, gpu(1))
    message = refusal(FP8_BLOCK, found, 1, gpu(2, updates=False))
    assert "model.layers.*.self_attn.k_proj.weight (64 rows)" in message
    assert message.endswith("set weights.quantization to fp8_tensor")


def test_processes_share_a_key_head_rather_than_cut_it() -> None:
    check_servable(FP8_BLOCK, tensors(q=512, kv=128, ffn=512), 1, gpu(4))


def test_one_scale_per_tensor_asks_nothing_of_shapes() -> None:
    check_servable(FP8_TENSOR, tensors(q=33, kv=11, ffn=77), 1, gpu(1, updates=False))


def test_one_scale_per_tensor_is_refused_for_servers_that_take_updates() -> None:
    assert "cannot load one scale per tensor into a running server" in refusal(FP8_TENSOR, [], 1, gpu(1))


def test_faults_of_the_server_and_of_shapes_are_told_together() -> None:
    server = TargetServer(tp=1, device="cpu", dtype="float32", updates=True)
    message = refusal(FP8_BLOCK, tensors(q=100, kv=100, ffn=128), 1, server)
    for part in ("on GPUs", "rollout.dtype float32", "q_proj.weight (100 rows)"):
        assert part in message
