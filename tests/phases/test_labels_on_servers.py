"""A panel's votes on SGLang's servers: the same as those of an engine of its own for every model."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, OtherVoters, Source
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.config.panel import Voter
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels
from rzero_mega.phases.context import RunContext, open_server_pool
from tests.phases.scripted import ScriptedRun, rows, summary

pytestmark = pytest.mark.sglang

SOLVER = Source(1, PhaseName.SOLVER, "model")
QUESTIONS = Source(1, PhaseName.QUESTIONS, "questions")
INPUTS = LabelsInputs(SOLVER, QUESTIONS, EarlierDataSets(0), OtherVoters(((Voter.BASE, BASE), (Voter.EARLIER, SOLVER))))
TEXTS = ("12+5", "7*8-3", "90-4*6", "3+3", "41-17", "8*9", "64-9*3", "5*5+5")
OVERRIDES = (
    "labels.questions_per_part=4",
    # Greedy, so that both engines are to say the same.
    "labels.votes={samples: 4, sampling: {temperature: 0.0, top_k: 0, max_new_tokens: 40}}",
    "labels.panel={base: 1, solver_reexpressed: 1, earlier: 1}",
    "labels.curation={low: 0.0, high: 1.0, drop_duplicates: false}",
    "evaluation.benchmarks=[]",
)

SERVERS = ("rollout.dtype=float32", "rollout.sglang.max_total_tokens=20000", "rollout.sglang.start_timeout_s=300")


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Solver that is not the base: its weights are the base's with noise. The run takes it for an earlier phase's."""
    folder = tmp_path / "other"

    def model(ctx: RunContext, source: Source) -> Path:
        if not folder.exists():
            shutil.copytree(ctx.base, folder)
            weights = load_file(folder / "model.safetensors")
            noise = torch.Generator().manual_seed(0)
            moved = {
                name: tensor + 0.1 * tensor.std() * torch.randn(tensor.shape, generator=noise)
                for name, tensor in weights.items()
            }
            save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
        return folder if source == SOLVER else ctx.base

    monkeypatch.setattr(RunContext, "model", model)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[dict[str, ScriptedRun]]:
    """A run on each engine."""
    if importlib.util.find_spec("sglang") is None:
        pytest.skip("SGLang is not installed: make sglang-cpu")
    found = {}
    for engine in ("embedded", "sglang"):
        (tmp_path / engine).mkdir()
        found[engine] = ScriptedRun(tmp_path / engine, (*OVERRIDES, *SERVERS, f"rollout.engine={engine}"))
    with closing(found["embedded"]), closing(found["sglang"]):
        yield found


def test_one_set_of_servers_goes_through_the_sources(runs: dict[str, ScriptedRun], other: Path) -> None:
    servers, logs = runs["sglang"].ctx, runs["sglang"].folder / "servers"
    with open_server_pool(servers.config, logs) as servers.server_pool:
        found = {}
        for engine, run in runs.items():
            run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in TEXTS])
            phase = run.begin(PhaseName.LABELS)
            labels.run(run.ctx, phase, INPUTS)
            found[engine] = [row["answers"] for row in rows(phase, "labelled")]
            costs = summary(phase)["costs"]
            assert [costs[name]["load_seconds"] > 0 for name in ("solver", "base", "earlier")] == [True] * 3
    assert found["sglang"] == found["embedded"]
    assert any(answers[0] != answers[2] for answers in found["embedded"]), "the models are to differ"
    assert [path.name for path in logs.glob("*.address.json")] == ["solver-0-a1.address.json"]
