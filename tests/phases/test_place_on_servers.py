"""A role's SGLang servers that go from one model to another and back say what each of them says."""

from __future__ import annotations

import importlib.util
from contextlib import closing
from pathlib import Path

import pytest

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.phases.context import open_server_pool
from rzero_mega.phases.place import Place
from rzero_mega.rollout.protocol import Request
from tests import ROOT
from tests.phases.scripted import ScriptedRun

pytestmark = pytest.mark.sglang

OVERRIDES = (
    "rollout={engine: sglang, dtype: float32}",
    "rollout.sglang={max_total_tokens: 20000, start_timeout_s: 300}",
    "domain=rewriting",
    "model.path=asset:rewriting_base",
    "challenger.reward.uncertainty=spread",
    "evaluation.benchmarks=[]",
)
# Of one shape and one tokenizer.
OTHER = ROOT / "rzero_mega" / "assets" / "nano_base"
PROMPTS = ("R:cat dog ant\nA:", "R:bee ant bee cow\nA:", "Q:12*3+5\nA:", "Q:7-4\nA:")


def test_they_say_what_an_engine_of_each_says_and_are_started_once(tmp_path: Path) -> None:
    if importlib.util.find_spec("sglang") is None:
        pytest.skip("SGLang is not installed: make sglang-cpu")
    with closing(ScriptedRun(tmp_path, OVERRIDES)) as run:
        start_process_groups(run.ctx.layout, 0)
        greedy = SamplingConfig(temperature=0.0, max_new_tokens=24)
        encoded = [run.ctx.encoder.encode_said(prompt) for prompt in PROMPTS]
        requests = [Request(f"test/{i}", tuple(prompt), 1, greedy) for i, prompt in enumerate(encoded)]

        def said() -> list[list[str]]:
            place = Place(run.ctx, "solver")
            return [run.ctx.texts(place.engine(model).generate(requests)) for model in (run.base, OTHER) * 2]

        logs = tmp_path / "servers"
        with open_server_pool(run.ctx.config, logs) as run.ctx.server_pool:
            on_servers = said()
        run.ctx.server_pool = None
        assert on_servers == said() and on_servers[0] == on_servers[2] != on_servers[1] == on_servers[3]
        assert [path.name for path in logs.glob("*.address.json")] == ["solver-0-a1.address.json"]
