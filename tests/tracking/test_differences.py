"""Where learner and rollout engine differ: per step against bounds, and what of it is shown afterwards."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from markupsafe import escape

from rzero_mega.config import load_config
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.differences import remarked
from rzero_mega.run import RunDirectory
from rzero_mega.tracking.differences import WARNED, Difference, difference_lines
from rzero_mega.tracking.report import render
from rzero_mega.tracking.report_data import gather

ROW = {
    "staleness": 0.0,
    "logprob_difference": 0.06,
    "logprob_difference_max": 3.0,
    "rollout_kl": 0.004,
    "importance_outside": 0.02,
}
LIMITS = {"logprob_difference": 0.06, "token_difference": 3.0, "rollout_kl": 0.004, "importance_outside": 0.02}


@pytest.mark.parametrize("key", LIMITS)
def test_a_step_past_a_bound_is_warned_of_with_its_key(key: str, caplog: pytest.LogCaptureFixture) -> None:
    at = load_config(overrides=[f"learner.warn.{key}={LIMITS[key]}"])
    assert remarked("solver: step 3", ROW, at) == {WARNED: 0.0} and not caplog.records
    below = load_config(overrides=[f"learner.warn.{key}={0.99 * LIMITS[key]}"])
    with caplog.at_level(logging.WARNING):
        assert remarked("solver: step 3", ROW, below) == {WARNED: 1.0}
    (record,) = caplog.records
    assert record.getMessage().startswith("solver: step 3: learner and rollout engine differ: ")
    assert record.getMessage().endswith(f"(learner.warn.{key})")


@pytest.mark.parametrize(
    ("overrides", "staleness", "warned"),
    [
        ([], 0.0, 0.0),  # bf16: 0.1
        (["learner.dtype=float32", "rollout.dtype=float32"], 0.0, 1.0),
        (["learner.dtype=float32", "rollout.dtype=float32"], 1.0, 0.0),
        (["weights.verify.probe_tolerance=0.05"], 0.0, 1.0),
        (["learner.fp8.format=hybrid", "weights.quantization=fp8_block"], 0.0, 0.0),
    ],
)
def test_by_default_the_mean_is_held_to_what_a_probe_may_show_where_the_present_weights_drew_everything(
    overrides: list[str], staleness: float, warned: float
) -> None:
    row = {**ROW, "staleness": staleness}
    assert remarked("step", row, load_config(overrides=overrides)) == {WARNED: warned}


def test_status_and_report_tell_of_phases_with_such_steps_and_of_no_other(finished: RunDirectory) -> None:
    data = gather(finished)
    shown = data.status.iterations
    assert difference_lines((row.iteration, row.differences) for row in shown) == []
    assert "past learner.warn" not in render(data)
    assert shown[1].differences[PhaseName.SOLVER].mean == pytest.approx(3e-6, rel=0.2)
    told = Difference(0.0123, 1.44, 0.00041, 0.0021, 0.2)
    (line,) = difference_lines([(2, {PhaseName.SOLVER: told}), (3, {PhaseName.SOLVER: Difference(1, 1, 1, 1, 0)})])
    assert line == (
        "solver of iteration 2: learner and rollout engine differ by 0.0123 nats per token, 1.44 of a step's worst; "
        "KL 0.00041; 0.21 % of tokens past a factor of 2; 20.0 % of steps past learner.warn"
    )
    second = replace(shown[2], differences={PhaseName.SOLVER: told})
    status = replace(data.status, iterations=(*shown[:2], second, *shown[3:]))
    assert escape(line) in render(replace(data, status=status))
