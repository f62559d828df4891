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

EARLIER, SOLVER = (Source(iteration, PhaseName.SOLVER, "model") for iteration in (1, 2))
QUESTIONS = Source(1, PhaseName.QUESTIONS, "questions")
OTHERS = OtherVoters(((Voter.BASE, BASE), (Voter.EARLIER, EARLIER)))
INPUTS = LabelsInputs(SOLVER, QUESTIONS, EarlierDataSets(0), OTHERS)
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


@pytest.fixture(autouse=True)
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Solvers of two iterations, that are not the base: its weights with noise."""

    def model(ctx: RunContext, source: Source) -> Path:
        folder = tmp_path / f"solver-{source.iteration}"
        if source != BASE and not folder.exists():
            shutil.copytree(ctx.base, folder)
            noise = torch.Generator().manual_seed(source.iteration)
            moved = {
                name: tensor + 0.4 * tensor.std() * torch.randn(tensor.shape, generator=noise)
                for name, tensor in load_file(folder / "model.safetensors").items()
            }
            save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
        return ctx.base if source == BASE else folder

    monkeypatch.setattr(RunContext, "model", model)


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


def test_one_set_of_servers_goes_through_the_sources(runs: dict[str, ScriptedRun]) -> None:
    servers, logs = runs["sglang"].ctx, runs["sglang"].folder / "servers"
    with open_server_pool(servers.config, logs) as servers.server_pool:
        found = {}
        for engine, run in runs.items():
            run.leave(PhaseName.QUESTIONS, "questions", [WrittenQuestion(text, None) for text in TEXTS])
            phase = run.begin(PhaseName.LABELS)
            labels.run(run.ctx, phase, INPUTS)
            found[engine] = [row["answers"] for row in rows(phase, "labelled")]
            costs = summary(phase)["costs"]
            loaded = [name for name, cost in costs.items() if cost["load_seconds"] > 0]
            assert loaded == ["solver", "base", "earlier"]
    assert found["sglang"] == found["embedded"]
    for one, another in ((0, 2), (0, 3), (2, 3)):
        assert any(answers[one] != answers[another] for answers in found["embedded"]), "the models are to differ"
    assert [path.name for path in logs.glob("*.address.json")] == ["solver-0-a1.address.json"]
