"""What the roofline's table says is of the measured step, and of the recipes as they are."""

from __future__ import annotations

import pytest

from rzero_mega.planning.kernels import LEARNER, KernelsWhenFitted
from tools import roofline


def test_the_measured_step_comes_out_as_it_was_and_every_step_is_faster_now() -> None:
    measured, *recipes = roofline.cases()
    # tools/RESULTS.md, One H100: 1.091 s at 37.0 % MFU.
    then = measured.time(KernelsWhenFitted(), fp8=False)
    assert then.seconds == pytest.approx(1.091, rel=0.02) and measured.mfu(then) == pytest.approx(0.37, rel=0.02)
    assert [case.name.split(":")[0] for case in recipes] == list(roofline.RECIPES)
    for case in (measured, *recipes):
        assert case.time(LEARNER, fp8=False).seconds < case.time(KernelsWhenFitted(), fp8=False).seconds
