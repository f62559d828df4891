"""A Verifier on SGLang's servers: they draw its rollouts, get its weights after steps, and give its verdicts."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, Source, VerifierInputs
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels, verifier
from rzero_mega.phases.context import open_server_pool
from tests.phases.scripted import ScriptedRun, rows, summary
from tests.phases.voted import VOTED

pytestmark = pytest.mark.sglang

VERIFIER = Source(1, PhaseName.VERIFIER, "model")
TEXTS = ("12+5", "7*8-3", "90-4*6", "3+3", "41-17", "8*9", "64-9*3", "5*5+5")
# Greedy where both engines are to say the same.
GREEDY = "sampling: {temperature: 0.0, top_k: 0, max_new_tokens: 40}"
OVERRIDES = (
    "rollout={engine: sglang, dtype: float32}",
    "rollout.sglang={max_total_tokens: 20000, start_timeout_s: 300}",
    "weights.verify.probe_every=1",
    "verifier.train=true",
    "verifier.training={steps: 3, prompts_per_step: 4, grpo: {sequences_per_update: 32}}",
    # The weights move in every step, whatever it earns.
    "verifier.training.optimizer={learning_rate: 1e-3, weight_decay: 0.1}",
    "verifier.warm_up={steps: 40, sft: {sequences_per_update: 16}}",
    "verifier.gate={share: 0.5, minimum: 0.0}",
    f"verifier={{samples: 1, {GREEDY}, drop_below: 0.0}}",
    f"labels.votes={{samples: 2, {GREEDY}}}",
    "labels.curation={low: 0.0, high: 1.0}",
    "evaluation.benchmarks=[]",
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[ScriptedRun]:
    if importlib.util.find_spec("sglang") is None:
        pytest.skip("SGLang is not installed: make sglang-cpu")
    with closing(ScriptedRun(tmp_path, OVERRIDES)) as run:
        start_process_groups(run.ctx.layout, 0)
        yield run


def labelled(run: ScriptedRun, iteration: int) -> tuple[list[tuple[Any, ...]], dict[str, Any]]:
    """The answers to the questions with what the Verifier says of the label; and the phase's summary."""
    run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in TEXTS], iteration)
    phase = run.begin(PhaseName.LABELS, iteration)
    questions = Source(iteration, PhaseName.QUESTIONS, "questions")
    labels.run(run.ctx, phase, LabelsInputs(BASE, questions, EarlierDataSets(0), verifier=VERIFIER))
    return [(row["answers"], row.get("acceptance")) for row in rows(phase, "labelled")], summary(phase)


def test_the_solver_s_servers_draw_for_it_get_its_weights_and_give_its_verdicts(run: ScriptedRun) -> None:
    logs = run.folder / "servers"
    run.leave(PhaseName.LABELS, "labelled", VOTED)
    phase = run.begin(PhaseName.VERIFIER)
    with open_server_pool(run.ctx.config, logs) as run.ctx.server_pool:
        verifier.run(run.ctx, phase, VerifierInputs(BASE, Source(1, PhaseName.LABELS, "labelled")))
        on_servers, said = labelled(run, iteration=2)
    steps = rows(phase, "metrics")
    # Drawn by the weights that the learner has, which are others in each step.
    assert [row["staleness"] for row in steps] == [0.0] * 3
    assert all(0 < row["probe_difference"] < 1e-5 for row in steps)
    assert all(row["update_seconds"] > 0 for row in steps[:-1])
    assert summary(phase)["measured"]["right"] > 0 and summary(phase)["measured"]["unread"] < 0.5
    assert said["verdicts"]["takes_part"] and said["verdicts"]["labels_verified"] > 0
    assert [path.name for path in logs.glob("*.address.json")] == ["solver-0-a1.address.json"]
    run.ctx.server_pool = None
    embedded, _ = labelled(run, iteration=3)
    assert on_servers == embedded
