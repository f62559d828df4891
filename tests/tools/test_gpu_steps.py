"""What the GPU lane's steps compute, at sizes and with modules that a CPU has."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rzero_mega.config.schema import Fp8Config
from rzero_mega.errors import UserError
from rzero_mega.learner import output_layer
from rzero_mega.learner.megatron.layers import RMSNorm
from rzero_mega.learner.megatron.spec import local_spec
from rzero_mega.planning.flops import training_flops
from rzero_mega.planning.hardware import gpu_of_device
from rzero_mega.planning.models import model_named
from rzero_mega.weights.shape import read_shape
from tools.gpu_steps import checkpoint, copies, fp8, logprob_memory, mfu, spec_parity, spinning, step
from tools.gpu_steps import output_layer as output_layer_step
from tools.gpu_steps.isolation import Failure, caught, in_own_process
from tools.gpu_steps.models import Sizes, chains, gap, one_micro_batch
from tools.gpu_steps.outcome import StepFailed, Unavailable

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the steps themselves run on a GPU")

TINY = Sizes(2, 64, 96, 4, 2, 16, 61)


class LouderNorm(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return 1.05 * super().forward(x)


def louder_spec(config: Any, vp_stage: int | None = None) -> Any:
    spec = local_spec(config, vp_stage)
    spec.layer_norm = LouderNorm
    return spec


def test_modules_that_compute_the_same_have_no_gap_and_others_have_one() -> None:
    settings = spec_parity.Settings(TINY, lengths=(20, 3, 1), spec=louder_spec)
    parity = spec_parity.run(settings)
    assert parity.logprobs["float32"].largest > 0.01
    assert parity.gradients["float32"].relative > 0.01
    assert 0 < parity.logprobs["local_bfloat16"].relative < parity.logprobs["float32"].relative
    same = spec_parity.run(replace(settings, spec=local_spec))
    assert same.logprobs["float32"].largest == same.gradients["float32"].relative == 0.0


def test_a_gap_is_measured_over_all_tensors_and_names_the_worst() -> None:
    a, b = {"x": torch.tensor([3.0, 4.0]), "y": torch.tensor([1.0, 0.0])}, {}
    b = {"x": torch.tensor([3.0, 4.0]), "y": torch.tensor([0.0, 1.0])}
    found = gap(a, b)
    assert found.relative == pytest.approx(math.sqrt(2 / 26))
    assert found.cosine == pytest.approx(25 / 26)
    assert (found.largest, found.lowest_cosine, found.lowest_cosine_of) == (1.0, 0.0, "y")
    with pytest.raises(ValueError, match="names differ"):
        gap(a, {"x": b["x"]})


def test_chains_are_the_same_for_a_seed_and_have_few_successors() -> None:
    first, again, other = (chains(3, 40, 61, seed) for seed in (1, 1, 2))
    assert first == again != other
    successors: dict[int, set[int]] = {}
    for sequence in chains(50, 40, 61, seed=3):
        tokens = [*sequence.prompt, *sequence.response]
        for a, b in pairwise(tokens):
            successors.setdefault(a, set()).add(b)
    assert {len(found) for found in successors.values()} == {4}


def test_micro_batches_are_filled_up_to_what_a_recipe_takes() -> None:
    found = one_micro_batch(chains(2, 21, 61, 0), Fp8Config(format="hybrid", recipe="blockwise"))
    assert found.tokens.size(1) == 128
    assert float(found.loss_weight.sum()) == pytest.approx(1.0)


def test_training_learns_the_chain_and_reports_its_likelihood(tmp_path: Path) -> None:
    settings = fp8.Settings(TINY, length=32, alphabet=16, steps=25, warmup=2, learning_rate=1e-2)
    curve = fp8.train(TINY.write(tmp_path), settings, fp8.BF16)
    assert curve.losses[0] == pytest.approx(math.log(61), abs=0.3)
    assert curve.losses[-1] < 0.8 * curve.losses[0]
    assert curve.step_seconds > 0 and curve.gradient is None


def test_curves_are_compared_smoothed_and_relative_to_bf16() -> None:
    found = fp8.compare(
        fp8.Curve([4.0, 2.0, 2.0, 2.0], 3.0, None), fp8.Curve([4.0, 3.0, 2.5, 1.5], 2.0, None), window=2
    )
    assert (found.loss_end, found.loss_maximum, found.speedup) == (0.0, 0.375, 1.5)


def here(function: Callable[..., Any], *arguments: Any) -> Any:
    """Instead of `in_own_process`, which takes seconds to import everything."""
    return caught(lambda: function(*arguments))


def test_a_process_that_raises_or_dies_leaves_its_reason() -> None:
    assert in_own_process(math.sqrt, 4.0) == 2.0
    assert in_own_process(int, "x") == Failure("ValueError: invalid literal for int() with base 10: 'x'")
    died = in_own_process(os._exit, 3)
    assert isinstance(died, Failure) and died.reason.startswith("BrokenProcessPool: ")


def test_a_recipe_that_cannot_run_is_named_and_the_others_keep_their_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fp8, "in_own_process", here)
    settings = fp8.Settings(TINY, recipes=("delayed",), length=8, alphabet=16, steps=2, window=1, warmup=0)
    with pytest.raises(StepFailed, match=r"^delayed: UserError: learner\.fp8\.format: hybrid needs") as failure:
        fp8.run(settings)
    assert len(failure.value.figures["curves"]["bf16"]["losses"]) == 2
    assert "needs an FP8-capable GPU" in failure.value.figures["recipes"]["delayed"]["error"]


def test_a_checkpoint_of_another_process_is_loaded_whole_and_gone_on_with() -> None:
    loaded = checkpoint.run(checkpoint.Settings(TINY, length=16))
    assert loaded.tensors_equal == loaded.tensors == 25 and loaded.step == 2
    assert loaded.logprobs.largest == loaded.next_step.largest == 0.0
    assert loaded.untrained.largest > 0.01


def test_chunks_take_less_memory_than_all_logits_and_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_layer, "CHUNK_BYTES", 4 * 16 * 4000 + 8 * 8 * 4000)
    found = logprob_memory.run(logprob_memory.Settings(256, 4000, 16, torch.float32))
    assert found.plain_bytes is not None and found.chunked_bytes < 0.25 * found.plain_bytes
    assert found.logprob_difference is not None and found.logprob_difference < 1e-5
    assert found.gradient_difference is not None and found.gradient_difference < 1e-5


def test_model_flops_are_six_per_parameter_and_token_and_causal_attention() -> None:
    shape = model_named("Qwen3-8B")
    per_layer = 4096 * (2 * 32 + 2 * 8) * 128 + 3 * 4096 * 12288
    parameters = 36 * per_layer + 151936 * 4096
    attention = 6 * 36 * 32 * 128 * 2048**2
    assert training_flops(shape, [2048, 2048]) == 2 * (6 * parameters * 2048 + attention)
    assert mfu.utilisation(989e12, 2.0, 989e12) == 0.5
    assert mfu.utilisation(1.0, 1.0, None) is None


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA L4", None),
    ],
)
def test_a_device_has_the_peak_of_its_own_data_sheet(device: str, name: str | None) -> None:
    gpu = gpu_of_device(device)
    assert (gpu.name if gpu else None) == name


def test_more_memory_holds_more_layers_and_never_more_than_the_model_has() -> None:
    found = [mfu.fitting_layers(mfu.Settings(), size) for size in (1, 80 * 10**9, 140 * 10**9, 10**12)]
    assert found[0] == 1 and found[3] == 36
    assert 1 < found[1] < found[2] < 36


def test_a_model_too_large_is_tried_with_fewer_layers_and_a_precision_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def measure(folder: Path, settings: mfu.Settings, precision: str) -> mfu.Speed:
        layers = read_shape(folder).layers
        if layers > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if precision == "delayed":
            raise UserError("no FP8 here")
        return mfu.Speed(precision, layers, 2.0, 1.0, 1.0, 1.0, None, None, 0, None, 0.0)

    monkeypatch.setattr(mfu, "in_own_process", here)
    monkeypatch.setattr(mfu, "measure", measure)
    with pytest.raises(StepFailed, match=r"^delayed: UserError: no FP8 here$") as failure:
        mfu.run(mfu.Settings(TINY, 5, precisions=("bf16", "delayed")))
    assert failure.value.figures["speeds"]["bf16"]["layers"] == 1  # 5, 3, 1
    assert failure.value.figures["speedup"] == {"bf16": 1.0}


def test_a_step_s_speed_is_tokens_over_its_median_time(tmp_path: Path) -> None:
    settings = mfu.Settings(TINY, 2, sequences=4, length=16, tokens_per_micro_batch=32, warmup=1, steps=2)
    speed = mfu.measure(TINY.write(tmp_path), settings, fp8.BF16)
    assert speed.layers == 2
    assert speed.tokens_per_second == pytest.approx(64 / speed.step_seconds)
    assert speed.tflops_per_second == pytest.approx(speed.model_flops / speed.step_seconds / 1e12)
    assert speed.mfu_bf16 is None


def test_the_output_layer_is_timed_at_every_width_in_chunks_and_whole_and_is_as_before_afterwards() -> None:
    before = output_layer.CHUNK_BYTES
    found = output_layer_step.run(output_layer_step.Settings(32, 16, (61, 30), torch.float32, warmup=0, passes=1))
    assert before == output_layer.CHUNK_BYTES and found.keys() == {"v61", "v30"}
    for way, products in (("chunks", 3), ("unfused", 3), ("one_chunk", 3), ("scoring", 1), ("plain", 3)):
        timed = found["v61"][way]
        assert timed.products == products and timed.seconds is not None and timed.tflops_per_second is not None
        assert timed.tflops_per_second * 1e12 * timed.seconds == pytest.approx(products * 2 * 32 * 16 * 61)


def test_a_graph_is_timed_alone_and_beside_every_number_of_blocks() -> None:
    found = spinning.run(spinning.Settings(2, 8, 16, 2, blocks=(1, 4), replays=2))
    assert found.seconds.keys() == found.slowdown.keys() == {1, 4}
    assert found.slowdown[4] == pytest.approx(found.seconds[4] / found.alone_seconds)


def test_every_way_off_the_gpu_and_back_is_timed() -> None:
    assert min(vars(copies.run(copies.Settings(1 << 16, 2))).values()) > 0


SHORT = mfu.Settings(sequences=2, length=16, tokens_per_micro_batch=32, warmup=0, steps=1)


def test_a_step_has_its_speed_its_kernels_and_what_parking_takes_and_leaves_its_model_to_the_next(
    tmp_path: Path,
) -> None:
    settings = step.Settings(TINY, "offloading", kernels=3, times=SHORT)
    (tmp_path / f"{step.written(TINY, tmp_path).name}.part").mkdir()
    found = step.run(settings, tmp_path)
    assert found["speed"]["layers"] == 2 and found["speed"]["mfu_fp8"] is None
    seconds = [kernel["seconds"] for kernel in found["kernels"]]
    assert len(seconds) == 3 and seconds == sorted(seconds, reverse=True)
    assert min(found["parking"].values()) >= 0


def test_a_deterministic_step_says_whether_its_bits_repeat_and_experts_are_measured_alike(tmp_path: Path) -> None:
    experts = replace(TINY, layers=1, experts=4, per_token=2, expert_ffn=16)
    variables, filling = dict(os.environ), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        found = step.run(step.Settings(experts, "deterministic", repeated=experts, times=SHORT), tmp_path)
    finally:
        os.environ.clear()
        os.environ.update(variables)
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
    assert found["same_bits"] is True and found["speed"]["layers"] == 1


def test_variants_of_the_short_lane_are_those_of_bf16_or_recipes_of_fp8() -> None:
    assert mfu.configuration("unfused").fused_kernels is False and not mfu.is_fp8("unfused")
    assert mfu.configuration("delayed").fp8.format == "hybrid" and mfu.is_fp8("delayed")
    for settings in step.STEPS.values():
        assert mfu.configuration(settings.precision).dtype == "bfloat16"


@pytest.fixture
def no_sglang(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from tools.gpu_steps import cuda_ipc

    monkeypatch.setattr(cuda_ipc, "installed", lambda: False)
    yield


def test_without_sglang_the_update_is_unavailable(no_sglang: None, tmp_path: Path) -> None:
    from tools.gpu_steps import cuda_ipc

    with pytest.raises(Unavailable, match=r"^sglang is not installed$"):
        cuda_ipc.run(cuda_ipc.Settings(log=tmp_path / "log"))
