"""What training waits for at a checkpoint: `python -m tools.bench_checkpoint [--model 100m]`.

A model with random weights does one update in this process, and a checkpoint is begun and finished. Counted are the
bytes that torch's operations write until training could go on: once around is what the checkpoint holds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rzero_mega.learner.megatron import compat

compat.install()

import torch  # noqa: E402
import typer  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from rzero_mega.config.layout import ParallelLayout  # noqa: E402
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig  # noqa: E402
from rzero_mega.learner.batch import TrainingSequence  # noqa: E402
from rzero_mega.learner.learner import Learner  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from tools.random_model import SHAPES, write_random_model  # noqa: E402


class Written(TorchDispatchMode):
    """Bytes that operations of this thread write into memory that is not of their inputs, or copy into it."""

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # What is allocated alone is not written.
        if not func.is_view and not func.name().startswith("aten::empty"):
            written = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor) and x.device.type != "meta"]
            self.nbytes += sum(x.nbytes for x in written)
        return result


@dataclass(frozen=True)
class Cost:
    """`held` are the bytes of the checkpoint's tensors; `begun_s` are seconds until training could go on."""

    held: int
    written: int
    begun_s: float
    finished_s: float

    @property
    def passes(self) -> float:
        """How often what is held was written in host memory."""
        return self.written / self.held


def measure(config: Mapping[str, Any], dtype: str, folder: Path) -> Cost:
    """Of one checkpoint of a random model of this configuration, in the empty `folder`."""
    layout = ParallelLayout()
    start_process_groups(layout, 0)
    shape = write_random_model(folder / "model", config)
    learner = Learner(
        folder / "model",
        layout,
        LearnerConfig(dtype=dtype, tokens_per_micro_batch=64),
        GrpoConfig(sequences_per_update=1, kl_coefficient=0.0),
        OptimizerConfig(),
        longest_response=8,
    )
    tokens = tuple(i % shape.vocab for i in range(16))
    learner.train_step([TrainingSequence(tokens[:8], tokens[8:], (-1.0,) * 8, 1.0)])
    weights = sum(weight.numel() * (weight.element_size() + 3 * 4) for weight in learner._model.parameters.values())
    (folder / "checkpoint").mkdir()
    began = time.perf_counter()
    with Written() as counter:
        pending = learner.start_save(folder / "checkpoint", 1)
    begun = time.perf_counter() - began
    pending.finish()
    return Cost(weights, counter.nbytes, begun, time.perf_counter() - began)


def main(
    model: Annotated[str, typer.Option(help=f"One of {', '.join(SHAPES)}.")] = "100m",
    dtype: Annotated[str, typer.Option(help="bfloat16 or float32")] = "bfloat16",
) -> None:
    """Count and time what a checkpoint costs."""
    with tempfile.TemporaryDirectory() as folder:
        cost = measure(SHAPES[model], dtype, Path(folder))
    print(
        f"{model}, {dtype}: {cost.held / 1e6:.0f} MB held, {cost.written / 1e6:.0f} MB written in host memory "
        f"({cost.passes:.2f} passes), {cost.begun_s:.2f} s until training goes on, {cost.finished_s:.2f} s in all"
    )


if __name__ == "__main__":
    typer.run(main)
