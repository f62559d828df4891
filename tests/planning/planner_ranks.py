"""What every rank of a layout holds, for tests: `python -m tests.planning.planner_ranks CASES.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state

from rzero_mega.weights.shape import ModelShape
from tests.learner.forked_ranks import LayoutCase, main, run_program
from tools import bench_planner


@dataclass(frozen=True)
class MemoryCase(LayoutCase):
    """A model (fields of its shape) under a layout."""

    shape: dict[str, Any]


def measure_cases(cases: Sequence[MemoryCase], folder: Path) -> dict[str, list[dict[str, float]]]:
    """Bytes by kind, and the pipeline stage, of every rank of every case."""
    run_program(__name__, cases, folder)
    ranks = {case.name: case.processes for case in cases}
    return {
        name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(count)]
        for name, count in ranks.items()
    }


def _run(case: MemoryCase, folder: Path) -> None:
    found: dict[str, int] = bench_planner.measure(bench_planner.Case(case.name, ModelShape(**case.shape)), case.layout)
    found["stage"] = parallel_state.get_pipeline_model_parallel_rank()
    rank = torch.distributed.get_rank()
    (folder / f"{case.name}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(MemoryCase, _run)
