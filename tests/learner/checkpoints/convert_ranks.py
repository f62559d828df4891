"""Loading a checkpoint of weights in several processes over gloo.

Usage: `python -m tests.learner.checkpoints.convert_ranks CASES.json`.
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
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402


@dataclass(frozen=True)
class LoadingCase(LayoutCase):
    """Build the model of `model`, zero its weights, load the checkpoint, under a layout."""

    model: str
    checkpoint: str


def load_under(cases: Sequence[LoadingCase], folder: Path) -> dict[str, dict[str, Tensor]]:
    """What every case's model exports, by the case's name; AssertionError with the ranks' output if one breaks."""
    run_program(__name__, cases, folder)
    return {case.name: load_file(folder / f"{case.name}.safetensors") for case in cases}


def _run(case: LoadingCase, folder: Path) -> None:
    start_process_groups(case.layout, 0)
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=64)
    learner = Learner(Path(case.model), case.layout, settings, GrpoConfig(), OptimizerConfig(), longest_response=30)
    for weight in learner._model.local_weights().values():
        weight.zero_()
    load_model_only(Path(case.checkpoint), learner._model)
    weights = {name: tensor.clone() for name, tensor in learner.export()}
    if torch.distributed.get_rank() == 0:
        save_file(weights, folder / f"{case.name}.safetensors")
    torch.distributed.barrier()


if __name__ == "__main__":
    main(LoadingCase, _run)
