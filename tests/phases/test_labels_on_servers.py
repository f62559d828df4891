"""A panel's votes on SGLang's servers: the same as those of an engine of its own for every model."""

from __future__ import annotations

import importlib.util
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rzero_mega.activity import Activity
from rzero_mega.coevolution.plan import BASE, EarlierDataSets, LabelsInputs, OtherVoters, Source
from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.config.panel import Voter
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases import labels
from rzero_mega.phases.context import RunContext, open_server_pool
from rzero_mega.phases.servers_watched import ServersWatched
from rzero_mega.phases.stopwatch import Stopwatch
from rzero_mega.rollout.sglang.pool.choices import placement_here
from rzero_mega.run.timeline import DRAWING, Drawn, Span, Timeline, read_timeline
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
    timeline = runs["sglang"].folder / "timeline.jsonl"
    watched = ServersWatched(Stopwatch(Timeline(timeline)), placement_here(servers.config), 1)
    with open_server_pool(servers.config, logs, watched) as servers.server_pool:
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
    check_told(read_timeline(timeline), watched.take("challenger"), summary(phase)["label_tokens"])


def check_told(spans: list[Span], figures: dict[str, float], tokens: int) -> None:
    """The server's start, its updates and all that it drew stand on the timeline, and in a step's figures.

    It has drawn `tokens` for labels, and greedy answers besides.
    """
    done = Counter(span.name for span in spans)
    assert (done[Activity.START_SERVERS], done[Activity.VERIFY]) == (1, 1) and done[Activity.SEND] >= 2
    sent = [span for span in spans if span.name == Activity.SEND]
    assert all(0 < span.counts["verify_seconds"] < span.seconds and span.counts["sent_megabytes"] > 0 for span in sent)
    drawn = [(span.track, found) for span in spans if span.name == DRAWING and (found := Drawn.of(span))]
    assert {track for track, _ in drawn} == {"solver-0"} and sum(found.tokens for _, found in drawn) >= tokens
    assert 0 < figures["solver_slots_used"] <= 1 and figures["solver_server_tokens_per_second"] > 0
    assert figures["solver_send_seconds"] > 0 == figures["send_seconds"]
