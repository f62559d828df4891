"""On several ranks a Verifier learns what it learns in one process, and is measured to do the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.learner.forked_ranks import LayoutCase
from tests.phases.verifier_ranks import Outcome, run_cases

pytestmark = pytest.mark.gloo

TOLERANCE = 1e-5
# Drawing is shared over all ranks in any layout; what data parallelism changes is the learner's, see test_layouts.py.
LAYOUTS: dict[str, dict[str, Any]] = {"tp2": {"tp": 2}}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    cases = [LayoutCase("one"), *(LayoutCase(name, **layout) for name, layout in LAYOUTS.items())]
    return run_cases(cases, tmp_path_factory.mktemp("verifier-ranks"))


def told(values: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row or of a summary, but for times."""
    times = ("seconds", "tokens_per_second")
    return {k: v for k, v in values.items() if isinstance(v, float | int) and not k.endswith(times)}


def test_one_process_learns_to_write_verdicts_and_to_tell_right_from_wrong(found: dict[str, Outcome]) -> None:
    one = found["one"]
    assert one.summary["warm_up_loss_last"] < one.summary["warm_up_loss_first"] / 2
    assert len(one.rows) == 2 and all(row["updates"] == 2 and row["grad_norm"] > 0 for row in one.rows)
    assert one.summary["measured"]["unread"] < 0.5 and len(one.weights) > 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_steps_are_those_of_one_process(layout: str, found: dict[str, Outcome]) -> None:
    for ours, theirs in zip(found[layout].rows, found["one"].rows, strict=True):
        assert told(ours) == pytest.approx(told(theirs), abs=TOLERANCE, rel=TOLERANCE)
    assert told(found[layout].summary) == pytest.approx(told(found["one"].summary), abs=TOLERANCE, rel=TOLERANCE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_verdicts_are_those_of_one_process(layout: str, found: dict[str, Outcome]) -> None:
    ours, theirs = found[layout].summary, found["one"].summary
    assert ours["measured"] == theirs["measured"]
    for key in ("samples", "tokens"):
        assert ours["verdict_costs"][key] == theirs["verdict_costs"][key] > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_its_model_has_the_files_and_weights_of_one_process(layout: str, found: dict[str, Outcome]) -> None:
    ours, theirs = found[layout].weights, found["one"].weights
    assert {file: set(tensors) for file, tensors in ours.items()} == {f: set(tensors) for f, tensors in theirs.items()}
    for file, tensors in theirs.items():
        for name, weight in tensors.items():
            torch.testing.assert_close(ours[file][name], weight, atol=TOLERANCE, rtol=0, msg=name)
