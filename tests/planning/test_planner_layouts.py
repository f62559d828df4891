"""The planner's memory of a rank is what that rank holds when it runs over gloo."""

from __future__ import annotations

from dataclasses import asdict, replace
from statistics import fmean
from typing import Any

import pytest

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.memory import stage_memory
from rzero_mega.weights.shape import ModelShape
from tests.planning.planner_ranks import MemoryCase, measure_cases
from tools import bench_planner

pytestmark = pytest.mark.gloo

WITHIN = 0.15
DENSE = ModelShape("qwen3", 4, 160, 416, 8, 2, 24, 1000, 4096, 1e-6, 1e4, None, True, True, False)
MOE = replace(DENSE, family="qwen3_moe", experts=8, experts_per_token=2, expert_ffn=96, tied=False)
LAYOUTS: dict[str, dict[str, Any]] = {
    "tp2": {"tp": 2, "etp": 2},
    "tp2-sequence-parallel": {"tp": 2, "etp": 2, "sequence_parallel": True},
    "pp2": {"pp": 2},
    "dp2": {"dp": 2},
    "cp2": {"cp": 2},
    "moe-ep2": {"dp": 2, "ep": 2},
    "moe-tp2-ep2": {"tp": 2, "ep": 2, "etp": 1, "sequence_parallel": True},
    "moe-etp2": {"tp": 2, "etp": 2, "sequence_parallel": True},
}


def shape_of(name: str) -> ModelShape:
    return MOE if name.startswith("moe") else DENSE


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, float]]]:
    cases = [MemoryCase(name, asdict(shape_of(name)), **layout) for name, layout in LAYOUTS.items()]
    return measure_cases(cases, tmp_path_factory.mktemp("planner"))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_rank_holds_what_is_predicted(name: str, measured: dict[str, list[dict[str, float]]]) -> None:
    work = bench_planner.workload(bench_planner.Case(name, shape_of(name)))
    layout = ParallelLayout(**LAYOUTS[name])
    ranks = measured[name]
    assert {rank["stage"] for rank in ranks} == set(range(layout.pp))
    for stage in range(layout.pp):
        predicted = asdict(stage_memory(shape_of(name), Candidate(layout), work, stage))
        for kind in ("weights", "gradients", "optimizer", "activations"):
            # Random routers spread tokens unevenly over ranks.
            found = fmean(rank[kind] for rank in ranks if rank["stage"] == stage)
            assert predicted[kind] == pytest.approx(found, rel=WITHIN), f"stage {stage}: {kind}"
