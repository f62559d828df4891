"""Loading a checkpoint of weights in several processes over gloo, for tests: `python convert_ranks.py JOBS.json`.

Every rank is forked from this process, which has imported everything once and started nothing. Rank 0 leaves what the
model exports, or what the user reads where the checkpoint is refused.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rzero_mega.learner import compat

compat.install()

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig  # noqa: E402
from rzero_mega.learner.checkpoint import load_model_only  # noqa: E402
from rzero_mega.learner.layout import ParallelLayout  # noqa: E402
from rzero_mega.learner.learner import Learner  # noqa: E402
from rzero_mega.run.launch import STORE, die_with_parent  # noqa: E402

HANG_S = 600.0


@dataclass(frozen=True)
class Loading:
    """Build the model of `model`, zero its weights, load the checkpoint, under a layout."""

    name: str
    model: str
    checkpoint: str
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    sequence_parallel: bool = False

    @property
    def layout(self) -> ParallelLayout:
        return ParallelLayout(self.tp, self.pp, self.dp, self.sequence_parallel, ep=self.ep, etp=1)


def load_under(jobs: Sequence[Loading], folder: Path) -> dict[str, dict[str, Tensor]]:
    """What every job's model exports, by the job's name; AssertionError with the ranks' output if one breaks."""
    request = folder / "jobs.json"
    request.write_text(json.dumps([asdict(job) for job in jobs]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, __file__, str(request)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=HANG_S
    )
    assert done.returncode == 0, done.stdout
    return {job.name: load_file(folder / f"{job.name}.safetensors") for job in jobs}


def _run(job: Loading, folder: Path) -> None:
    job.layout.initialize(0)
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=64)
    learner = Learner(Path(job.model), job.layout, settings, GrpoConfig(), OptimizerConfig(), longest_response=30)
    for weight in learner._model.local_weights().values():
        weight.zero_()
    load_model_only(Path(job.checkpoint), learner._model)
    weights = {name: tensor.clone() for name, tensor in learner.export()}
    if torch.distributed.get_rank() == 0:
        save_file(weights, folder / f"{job.name}.safetensors")
    torch.distributed.barrier()


def _fork(job: Loading, rank: int, count: int, store: Path, folder: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        die_with_parent()
        os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), STORE: str(store)})
        _run(job, folder)
        code = 0
    except BaseException:
        print(f"--- job {job.name}, rank {rank}", file=sys.stderr)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run_ranks(job: Loading, folder: Path) -> bool:
    count = job.tp * job.pp * job.dp
    with tempfile.TemporaryDirectory() as meeting:
        running = {_fork(job, rank, count, Path(meeting) / "store", folder) for rank in range(count)}
        while running:
            child, status = os.wait()
            running.discard(child)
            if status:
                for other in running:  # they would wait for the one that broke
                    os.kill(other, signal.SIGTERM)
                return False
    return True


def main() -> int:
    request = Path(sys.argv[1])
    jobs = [Loading(**values) for values in json.loads(request.read_text())]
    return 0 if all(_run_ranks(job, request.parent) for job in jobs) else 1


if __name__ == "__main__":
    die_with_parent()
    sys.exit(main())
