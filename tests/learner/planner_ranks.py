"""What every rank of a layout holds, for tests: `python planner_ranks.py JOBS.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import bench_planner
from forked_ranks import main, run_script
from megatron.core import parallel_state

from rzero_mega.learner.layout import ParallelLayout
from rzero_mega.weights.shape import ModelShape


@dataclass(frozen=True)
class Job:
    """A model (fields of its shape) under a layout."""

    name: str
    shape: dict[str, Any]
    tp: int = 1
    pp: int = 1
    dp: int = 1
    sequence_parallel: bool = False
    ep: int = 1
    etp: int = 1


def measure_jobs(jobs: Sequence[Job], folder: Path) -> dict[str, list[dict[str, float]]]:
    """Bytes by kind, and the pipeline stage, of every rank of every job."""
    run_script(__file__, jobs, folder)
    ranks = {job.name: job.tp * job.pp * job.dp for job in jobs}
    return {
        name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(count)]
        for name, count in ranks.items()
    }


def _run(job: Job, folder: Path) -> None:
    layout = ParallelLayout(job.tp, job.pp, job.dp, job.sequence_parallel, job.ep, job.etp)
    found: dict[str, int] = bench_planner.measure(bench_planner.Case(job.name, ModelShape(**job.shape)), layout)
    found["stage"] = parallel_state.get_pipeline_model_parallel_rank()
    rank = bench_planner.torch.distributed.get_rank()
    (folder / f"{job.name}-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Job, _run)
