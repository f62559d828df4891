"""Loading a checkpoint of weights in several processes over gloo: `python -m tests.learner.convert_ranks JOBS.json`.

Every rank is forked from this process, which has imported everything once and started nothing. Rank 0 leaves what the
model exports, or what the user reads where the checkpoint is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.learner.megatron import compat

compat.install()

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig  # noqa: E402
from rzero_mega.learner.checkpoints.checkpoint import load_model_only  # noqa: E402
from rzero_mega.learner.learner import Learner  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from tests.learner.forked_ranks import LayoutJob, main, run_program  # noqa: E402


@dataclass(frozen=True)
class Loading(LayoutJob):
    """Build the model of `model`, zero its weights, load the checkpoint, under a layout."""

    model: str
    checkpoint: str


def load_under(jobs: Sequence[Loading], folder: Path) -> dict[str, dict[str, Tensor]]:
    """What every job's model exports, by the job's name; AssertionError with the ranks' output if one breaks."""
    run_program(__name__, jobs, folder)
    return {job.name: load_file(folder / f"{job.name}.safetensors") for job in jobs}


def _run(job: Loading, folder: Path) -> None:
    start_process_groups(job.layout, 0)
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=64)
    learner = Learner(Path(job.model), job.layout, settings, GrpoConfig(), OptimizerConfig(), longest_response=30)
    for weight in learner._model.local_weights().values():
        weight.zero_()
    load_model_only(Path(job.checkpoint), learner._model)
    weights = {name: tensor.clone() for name, tensor in learner.export()}
    if torch.distributed.get_rank() == 0:
        save_file(weights, folder / f"{job.name}.safetensors")
    torch.distributed.barrier()


if __name__ == "__main__":
    main(Loading, _run)
