"""The model of a training step: what one H100 took, what others publish, and that each part grows with its cause."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.learner import output_layer
from rzero_mega.planning.assumptions import TrainingShares, shipped
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.hardware import GPUS
from rzero_mega.planning.kernels import LEARNER, KernelsWhenFitted
from rzero_mega.planning.models import MODELS
from rzero_mega.planning.step_time import StepTime, links, step_time
from rzero_mega.planning.workload import Workload

H100 = GPUS["H100"]
MOE, DENSE = MODELS["Qwen3-30B-A3B"], MODELS["Qwen3-8B"]


def of(work: Workload, shape: Any = DENSE, **layout: Any) -> StepTime:
    return step_time(shape, Candidate(ParallelLayout(**layout)), work, H100, 8)


@pytest.mark.parametrize(("fp8", "measured"), [(False, 1.091), (True, 0.941)])
def test_the_step_that_one_h100_took_comes_out(fp8: bool, measured: float) -> None:
    """tools/RESULTS.md, One H100: seven layers of Qwen3-8B, 16 x 2,048 tokens in micro-batches of 8,192."""
    work = Workload(16, 2048, tokens_per_micro_batch=8192, sequences_per_update=16, scoring_passes=0, fp8=fp8)
    then = step_time(replace(DENSE, layers=7), Candidate(), work, H100, 8, kernels=KernelsWhenFitted())
    assert then.seconds == pytest.approx(measured, rel=0.02)


def test_the_output_layer_costs_what_the_learner_s_is_counted_to_take() -> None:
    """tests/learner/test_output_layer.py counts three products, 20 bytes per logit in bf16 and 16 in fp32; here the
    product's own result is among them."""
    assert LEARNER.backward_products == 2
    assert {width: sum(LEARNER.logit_bytes(width)) - width for width in (2, 4)} == {2: 20, 4: 16}
    for model, width in ((DENSE, 2), (MOE, 4)):
        for tp in (1, 8):
            rows = -(-model.vocab // tp)
            weight = torch.empty(rows, model.hidden, device="meta", dtype={2: torch.bfloat16, 4: torch.float32}[width])
            for tokens in (512, 12_288, 50_000):
                visited = len(list(output_layer.chunks(weight, tokens)))
                assert abs(LEARNER.chunks(model, ParallelLayout(tp=tp), width, tokens) - visited) <= 1
    work = Workload(scoring_passes=0)
    now, then = (step_time(DENSE, Candidate(), work, H100, 8, kernels=each) for each in (LEARNER, KernelsWhenFitted()))
    assert now.compute < then.compute and now.memory < then.memory


def test_a_published_throughput_of_a_mixture_is_within_a_fifth() -> None:
    """Megatron Bridge's performance summary 25.09: 10,494 tokens/s and GPU, tokens that overflow experts dropped."""
    work = Workload(512, 4096, tokens_per_micro_batch=8192, sequences_per_update=512, scoring_passes=0)
    seconds = of(work, MOE, pp=2, vpp=24, dp=8, ep=8).seconds
    assert 512 * 4096 / seconds / 16 == pytest.approx(10_494, rel=0.2)


def test_the_last_stage_has_the_output_layer_and_all_others_wait_for_it() -> None:
    one, two, four = (of(Workload(), pp=pp).imbalance for pp in (1, 2, 4))
    assert one == 0.0 < two < four
    assert of(Workload(), MOE, pp=4).imbalance > 0.3 * of(Workload(), MOE, pp=4).compute


def test_of_what_experts_exchange_only_what_leaves_the_node_goes_over_the_network() -> None:
    inside, across = (ParallelLayout(dp=16, ep=ep, etp=1) for ep in (8, 16))
    assert links(inside, H100, 8).ep_outside == 0.0 and links(across, H100, 8).ep_outside == 0.5
    near, far = (of(Workload(), MOE, dp=16, ep=ep).experts for ep in (8, 16))
    assert 2 * near < far < (H100.nvlink / H100.network) * near


def test_gradients_are_reduced_behind_the_last_backward_pass_as_far_as_it_is_long() -> None:
    alone = of(Workload(), tp=8, sequence_parallel=True, etp=8)
    copies = of(Workload(), tp=4, dp=2, sequence_parallel=True, etp=4)
    assert alone.data == 0.0 < copies.data < 0.1 * copies.compute
    many = of(Workload(sequences_per_update=16), dp=8)
    assert many.data > of(Workload(sequences_per_update=128), dp=8).data


def test_more_micro_batches_add_their_gradients_more_often() -> None:
    large, small = (Workload(tokens_per_micro_batch=tokens) for tokens in (16384, 4096))
    assert of(small, dp=8).memory > of(large, dp=8).memory


@given(st.sampled_from([spec for spec in asdict(shipped().training)]), st.floats(1.1, 3.0))
def test_no_step_is_slower_on_better_hardware(name: str, factor: float) -> None:
    shares = shipped().training
    better = factor if name.endswith("_share") else 1 / factor
    faster: TrainingShares = replace(shares, **{name: getattr(shares, name) * better})
    for shape in (DENSE, MOE):
        experts = 2 if shape.experts else 1
        layout = ParallelLayout(tp=2, pp=2, dp=2, cp=2, ep=experts, etp=2, sequence_parallel=True)
        candidate, work = Candidate(layout), Workload(fp8=name == "fp8_gemm_share")
        before, after = (step_time(shape, candidate, work, H100, 8, found).seconds for found in (shares, faster))
        assert after < before
