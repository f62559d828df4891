"""A run with a Verifier is told of with it: its phase, its steps, and what it was measured to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking.report import write_report
from rzero_mega.tracking.status import run_status
from rzero_mega.tracking.verifier import verifier_lines
from rzero_mega.tracking.wandb_rows import axes, step_values, summary_values
from tests.tracking.synthetic import synthetic_config

COUNTS = {"right": 40, "right_accepted": 38, "wrong": 40, "wrong_accepted": 4}
MEASURED = {**COUNTS, "takes_part": True, "unread": 0.0, "intervals": {"balanced_accuracy": [0.88, 0.96]}}
VERDICTS = {"takes_part": True, "rejected_share": 0.25, "overruled": 0}
STEP = {"reward_mean": 0.75, "reward_std": 0.25, "kl": 0.01, "generate_seconds": 2.0}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Callable[..., RunDirectory]]:
    with ExitStack() as opened:

        def make(train: str) -> RunDirectory:
            config = synthetic_config(f"verifier.train={train}", "verifier.training.steps=2", "iterations=2")
            return opened.enter_context(RunDirectory.create_or_open(tmp_path / train, config, writer=True))

        yield make


@pytest.fixture
def run(runs: Callable[..., RunDirectory]) -> RunDirectory:
    """One whose first Verifier is trained, and has had its say in the second labels."""
    made = runs("true")
    verifier, labels = made.phase(1, PhaseName.VERIFIER), made.phase(2, PhaseName.LABELS)
    verifier.begin({})
    for step in (1, 2):
        verifier.log_step(step, STEP)
    verifier.finish({}, {"measured": MEASURED})
    labels.begin({})
    labels.finish({}, {"verdicts": VERDICTS})
    return made


def page(run: RunDirectory) -> str:
    write_report(run, run.path / "report.html")
    return (run.path / "report.html").read_text()


def test_status_and_report_name_its_phase_at_its_place_and_its_steps(run: RunDirectory) -> None:
    status, shown = run_status(run), page(run)
    names = tuple(name for name in PhaseName if name is not PhaseName.CRITIC)
    assert status.phases == names == tuple(status.iterations[1].phases)
    assert status.iterations[1].phases[PhaseName.VERIFIER].state == "finished"
    places = [shown.index(f"<th>{name}</th>") for name in names]
    assert places == sorted(places)
    for words in ("Verifier: reward", "iteration 1, verifier", "Can the Verifier be trusted?", "92.5 % [88.0, 96.0]"):
        assert words in shown, words


def test_a_run_without_one_has_no_word_of_it(runs: Callable[..., RunDirectory]) -> None:
    run = runs("false")
    assert PhaseName.VERIFIER not in run_status(run).phases
    assert "<th>solver</th>" in page(run) and "<th>verifier</th>" not in page(run)


def test_status_has_a_line_of_each_and_of_what_it_did_to_the_next_labels(run: RunDirectory) -> None:
    rows = [(row.iteration, row.verifier, row.verdicts) for row in run_status(run).iterations]
    (line,) = verifier_lines(rows)
    assert line == (
        "V1: balanced accuracy 92.5 % [88.0, 96.0], true-accept 95.0 %, false-accept 10.0 % on known pairs; "
        "rejected 25.0 % of the next labels"
    )


def test_its_steps_have_an_axis_of_their_own_in_wandb_and_its_rates_that_of_iterations(run: RunDirectory) -> None:
    manifest = run.phase(1, PhaseName.VERIFIER).manifest()
    assert manifest is not None
    steps, came_to = step_values(PhaseName.VERIFIER, {"step": 2, **STEP}, 2, 1), summary_values(manifest)
    assert steps["train/verifier/reward_mean"] == 0.75 and steps["perf/verifier/generate_seconds"] == 2.0
    assert axes()["train/verifier/*"] == axes()["perf/verifier/*"] == "train/verifier/step"
    assert (came_to["verifier/balanced_accuracy"], came_to["verifier/takes_part"]) == (pytest.approx(0.925), 1.0)
