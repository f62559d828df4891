"""What every rank of a layout holds, for tests: `python -m tests.planning.planner_ranks JOBS.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron.core import parallel_state

from rzero_mega.weights.shape import ModelShape
from tests.learner.forked_ranks import LayoutJob, main, run_program
from tools import bench_planner


@dataclass(frozen=True)
class Job(LayoutJob):
    """A model (fields of its shape) under a layout."""

    shape: dict[str, Any]


def measure_jobs(jobs: Sequence[Job], folder: Path) -> dict[str, list[dict[str, float]]]:
    """Bytes by kind, and the pipeline stage, of every rank of every job."""
    run_program(__name__, jobs, folder)
    ranks = {job.name: job.processes for job in jobs}
    return {
        name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(count)]
        for name, count in ranks.items()
    }


def _run(job: Job, folder: Path) -> None:
    found: dict[str, int] = bench_planner.measure(bench_planner.Case(job.name, ModelShape(**job.shape)), job.layout)
    found["stage"] = parallel_state.get_pipeline_model_parallel_rank()
    rank = bench_planner.torch.distributed.get_rank()
    (folder / f"{job.name}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Job, _run)
