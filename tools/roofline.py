"""What the planner's roofline says of the learner: `python -m tools.roofline`.

The step that one H100 was measured on, and an update of recipes' Solvers in their layouts: seconds with the output
layer and the sums of gradients as they were then and as the learner has them now, the share of the peak that is used
(MFU, of bf16's peak also where products are FP8), and where the time goes now. Arithmetic alone; nothing runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

from rzero_mega.recipes import load_recipe

from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.flops import training_flops
from rzero_mega.planning.hardware import GPUS
from rzero_mega.planning.kernels import LEARNER, Kernels, KernelsWhenFitted
from rzero_mega.planning.models import MODELS
from rzero_mega.planning.step_time import StepTime, step_time
from rzero_mega.planning.workload import Workload
from rzero_mega.simulation.site import Site
from rzero_mega.weights.shape import ModelShape

GPU, GPUS_PER_NODE = GPUS["H100"], 8
MEASURED = Workload(16, 2048, tokens_per_micro_batch=8192, sequences_per_update=16, scoring_passes=0)
RECIPES = ("qwen3_8b", "qwen3_32b", "qwen3_30b_a3b")
# Of a rollout, question and answer: the median of the shipped assumptions.
RESPONSES = shipped().responses
LENGTH = int(RESPONSES.solver_prompt + RESPONSES.solver_median)


@dataclass(frozen=True)
class Case:
    """A model in a layout, and its step."""

    name: str
    shape: ModelShape
    candidate: Candidate
    work: Workload

    def time(self, kernels: Kernels, fp8: bool) -> StepTime:
        """Of the step."""
        return step_time(self.shape, self.candidate, replace(self.work, fp8=fp8), GPU, GPUS_PER_NODE, kernels=kernels)

    def mfu(self, time: StepTime) -> float:
        """The model's FLOPs over what the bf16 peak of all GPUs allows in that time."""
        flops = training_flops(self.shape, [self.work.length] * self.work.sequences)
        return flops / time.seconds / (self.candidate.layout.processes * GPU.bf16_flops)


def cases() -> Iterator[Case]:
    """The measured step, then one update of each recipe."""
    seven = replace(MODELS["Qwen3-8B"], layers=7)
    yield Case("7 layers of Qwen3-8B on one GPU", seven, Candidate(), MEASURED)
    for name in RECIPES:
        site = Site(load_recipe(name), GPU, shipped())
        sequences = site.config.solver.training.grpo.sequences_per_update
        micro_batch = site.config.learner.tokens_per_micro_batch
        update = Workload(sequences, LENGTH, 0, micro_batch, sequences, scoring_passes=0)
        layout = site.candidate.layout
        cuts = " ".join(f"{cut}{size}" for cut in ("tp", "pp", "vpp", "dp", "ep") if (size := getattr(layout, cut)) > 1)
        yield Case(f"{name}: {cuts}", site.shape, site.candidate, update)


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| step | products | s then | s now | ratio | MFU then | MFU now | most of it now |")
    print("|---|---|---|---|---|---|---|---|")
    for case in cases():
        for fp8 in (False, True):
            then, now = case.time(KernelsWhenFitted(), fp8), case.time(LEARNER, fp8)
            mfu_then, mfu = 100 * case.mfu(then), 100 * case.mfu(now)
            print(
                f"| {case.name} | {'FP8' if fp8 else 'bf16'} | {then.seconds:.3g} | {now.seconds:.3g} "
                f"| {now.seconds / then.seconds:.2f} | {mfu_then:.1f} % | {mfu:.1f} % | {_most(now)} |"
            )


def _most(time: StepTime) -> str:
    parts = sorted(asdict(time).items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {100 * seconds / time.seconds:.0f} %" for name, seconds in parts[:3])


if __name__ == "__main__":
    main()
