from __future__ import annotations

import pytest

from rzero_mega.config import load_config
from rzero_mega.errors import UserError
from rzero_mega.weights.verification.probe import (
    LARGEST_PER_MEAN,
    TOLERANCES,
    check_probe,
    less_precise,
    probe_dtype,
)

LEARNER = [[-1.0, -2.0, -0.5], [-3.0]]


def shifted(by: float) -> list[list[float]]:
    return [[value + by for value in sequence] for sequence in LEARNER]


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_differences_within_the_tolerance_of_the_dtype_pass(dtype: str) -> None:
    result = check_probe(LEARNER, shifted(TOLERANCES[dtype] * 0.9), dtype, None, "3")
    assert result.tokens == 4 and result.tolerance == TOLERANCES[dtype]
    assert result.mean == pytest.approx(TOLERANCES[dtype] * 0.9) == pytest.approx(result.largest)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_mean_beyond_the_tolerance_is_an_error_that_names_the_server_and_the_version(dtype: str) -> None:
    with pytest.raises(UserError, match="replica 2: log-probabilities of version 3 differ"):
        check_probe(LEARNER, shifted(TOLERANCES[dtype] * 1.1), dtype, None, "3", "replica 2")


def test_the_user_s_tolerance_goes_before_the_dtype_s() -> None:
    check_probe(LEARNER, shifted(0.5), "float32", 0.6, "3")
    with pytest.raises(UserError, match="probe_tolerance"):
        check_probe(LEARNER, shifted(1e-5), "float32", 1e-6, "3")


def test_one_token_far_off_among_many_is_an_error_that_says_where() -> None:
    learner = [[-1.0] * 10_000, [-1.0] * 10_000]
    server = [list(sequence) for sequence in learner]
    server[1][17] += TOLERANCES["float32"] * LARGEST_PER_MEAN * 1.1
    with pytest.raises(UserError, match="sequence 1"):
        check_probe(learner, server, "float32", None, "3")


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        ([[-1.0, -2.0, -0.5]], "1 probe sequences came back, not 2"),
        ([[-1.0, -2.0, -0.5], []], "sequence 1 has 0 log-probabilities, not 1"),
        ([[-1.0, float("nan"), -0.5], [-3.0]], "sequence 0 has a log-probability that is no finite number"),
        ([[-1.0, -2.0, -0.5], [float("-inf")]], "sequence 1 has"),
    ],
)
def test_what_cannot_be_compared_is_an_error(server: list[list[float]], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        check_probe(LEARNER, server, "float32", None, "3")


def test_a_probe_without_tokens_is_no_proof() -> None:
    with pytest.raises(UserError, match="no tokens"):
        check_probe([[]], [[]], "float32", None, "3")


def test_the_less_precise_dtype_decides() -> None:
    assert less_precise("float32", "bfloat16") == "bfloat16"
    assert less_precise("bfloat16", "fp8") == "fp8"
    assert less_precise("float32", "float32") == "float32"


@pytest.mark.parametrize(
    ("overrides", "dtype"),
    [
        ([], "bfloat16"),
        (["learner.dtype=float32", "rollout.dtype=float32"], "float32"),
        (["learner.fp8.format=hybrid"], "fp8"),
        (["weights.quantization=fp8_block"], "fp8"),
    ],
)
def test_fp8_on_either_side_has_the_tolerance_of_fp8(overrides: list[str], dtype: str) -> None:
    assert probe_dtype(load_config([], overrides)) == dtype
