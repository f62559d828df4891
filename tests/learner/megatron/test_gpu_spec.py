"""Transformer Engine's modules against the local ones, and a checkpoint that no GPU took part in."""

from __future__ import annotations

import pytest

from tests.learner.megatron.gpu_only import GPU_ONLY
from tools.gpu_steps import checkpoint, spec_parity

pytestmark = GPU_ONLY


@pytest.fixture(scope="module")
def parity() -> spec_parity.Parity:
    return spec_parity.run(spec_parity.Settings())


def test_in_float32_both_specs_agree_up_to_tf32(parity: spec_parity.Parity) -> None:
    # TF32 has 10 bits of mantissa.
    assert parity.logprobs["float32"].relative < 2**-8
    assert parity.gradients["float32"].relative < 2**-6
    assert parity.gradients["float32"].lowest_cosine > 0.999


def test_in_bfloat16_transformer_engine_is_no_further_from_float32_than_the_local_modules(
    parity: spec_parity.Parity,
) -> None:
    for found in (parity.logprobs, parity.gradients):
        assert found["bfloat16_against_float32"].relative < 2 * found["local_bfloat16"].relative
    assert parity.gradients["bfloat16"].lowest_cosine > 0.98


def test_a_checkpoint_written_without_a_gpu_loads_bit_for_bit_and_goes_on() -> None:
    loaded = checkpoint.run(checkpoint.Settings())
    assert loaded.tensors_equal == loaded.tensors
    assert loaded.logprobs.relative < 0.01
    assert loaded.next_step.relative < 0.01
    assert loaded.untrained.relative > 4 * loaded.logprobs.relative
