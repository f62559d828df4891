"""A Verifier's phase that was ended in the middle goes on to the same bytes: real weights, a real engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rzero_mega.coevolution.plan import BASE, Source, VerifierInputs
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import steps, training, verifier, warm_up
from rzero_mega.phases.context import ActivePhase
from rzero_mega.phases.labelled import SftSteps
from tests.phases.killed import Killed, assert_it_goes_on, in_call, left
from tests.phases.scripted import ScriptedRun
from tests.phases.voted import VOTED

STEPS, WARM_UP = 3, 3
SETTINGS = (
    "verifier.train=true",
    f"verifier.training.steps={STEPS}",
    "verifier.training.prompts_per_step=2",
    "verifier.training.rollouts_per_prompt=2",
    "verifier.training.grpo.sequences_per_update=4",
    # Weights move in every step, whatever it earns.
    "verifier.training.optimizer={learning_rate: 0.1, weight_decay: 1.0}",
    f"verifier.warm_up={{steps: {WARM_UP}, sft: {{sequences_per_update: 4}}}}",
    "verifier.training.sampling.max_new_tokens=8",
    "verifier.sampling.max_new_tokens=8",
    "verifier.samples=2",
    "verifier.gate={share: 0.5, pairs: 4}",
    "learner.tokens_per_micro_batch=512",
    "learner.checkpoint={every: 1, asynchronous: false}",
)
MOMENTS: dict[str, tuple[Any, str, int]] = {
    "in the warm-up": (SftSteps, "take", 2),
    "before the warm-up is written down": (warm_up, "_keep", 1),
    "in the first step": (training, "train_step", 1),
    "after two steps": (training, "train_step", 3),
    "while it is measured": (verifier, "verdict_shares", 1),
    "as it is finished": (steps, "_finish", 1),
}


def train(run: ScriptedRun) -> ActivePhase:
    if run.directory.phase(1, PhaseName.LABELS).manifest() is None:
        run.leave(PhaseName.LABELS, "labelled", VOTED)
    phase = run.begin(PhaseName.VERIFIER)
    verifier.run(run.ctx, phase, VerifierInputs(BASE, Source(1, PhaseName.LABELS, "labelled")))
    return phase


def left_with_hashes(phase: ActivePhase) -> tuple[dict[str, bytes], Any, Any, list[dict[str, Any]]]:
    """What is left, with the hashes of the model, but for the costs of verdicts, which have times."""
    (files, said, logged), manifest = left(phase), phase.directory.manifest()
    assert manifest is not None
    del said["verdict_costs"]
    return files, manifest.outputs["model"], said, logged


@pytest.fixture
def runs(training_runs: Callable[..., ScriptedRun]) -> Callable[[str], ScriptedRun]:
    return lambda name: training_runs(name, *SETTINGS)


def test_it_goes_on_to_the_same_model_manifest_and_rows_whenever_it_was_killed(
    runs: Callable[[str], ScriptedRun],
) -> None:
    undisturbed = assert_it_goes_on(runs, train, left_with_hashes, MOMENTS)
    assert undisturbed[2]["warm_up_loss_last"] < undisturbed[2]["warm_up_loss_first"]
    assert len(undisturbed[3]) == STEPS and undisturbed[2]["measured"]["right"] == 4


def test_a_warm_up_that_is_done_is_not_done_again_unless_its_model_has_changed(
    runs: Callable[[str], ScriptedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "train_step", in_call(1, steps.train_step))
        train(runs("killed"))
    take = SftSteps.take
    monkeypatch.setattr(SftSteps, "take", in_call(1, take))
    (file,) = runs("killed").directory.phase(1, PhaseName.VERIFIER).work.glob("warm_up/config.json")
    whole = file.read_bytes()
    file.write_bytes(whole + b"\n")
    with pytest.raises(Killed):
        train(runs("killed"))
    file.write_bytes(whole)
    monkeypatch.setattr(SftSteps, "take", in_call(1, take))
    train(runs("killed"))
