"""What the planner chooses between: every layout that a number of GPUs allows for a model, and what is recomputed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.errors import UserError
from rzero_mega.planning.layout_rules import check_layout
from rzero_mega.planning.request import PlanRequest
from rzero_mega.weights.shape import ModelShape

Recompute = Literal["none", "selective", "full"]
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")
# Transformer Engine's attention keeps nothing that selective recompute would save: learners on GPUs refuse it.
ON_GPUS: tuple[Recompute, ...] = ("none", "full")
# More chunks per stage hold more activations and send more, for a bubble that is small already.
MAX_VPP = 4


@dataclass(frozen=True)
class Candidate:
    """A parallel layout with what the backward pass recomputes (`learner.layout`, `learner.recompute`)."""

    layout: ParallelLayout = field(default_factory=ParallelLayout)
    recompute: Recompute = "none"


def candidates(request: PlanRequest) -> Iterator[Candidate]:
    """Every layout of the GPUs that divides the model; tp and cp stay inside a node. With a Critic there is no cp."""
    shape, gpus, node = request.shape, request.gpus, min(request.gpus, request.gpus_per_node)
    for tp in divisors(node):
        for cp in [1] if request.workload.critic else divisors(node // tp):
            for pp in divisors(shape.layers):
                if gpus % (tp * cp * pp):
                    continue
                dp = gpus // (tp * cp * pp)
                if dp > 1 and dp > request.workload.sequences_per_update:
                    continue  # ranks without a sequence
                dense = ParallelLayout(tp=tp, pp=pp, cp=cp, dp=dp, etp=tp, sequence_parallel=tp > 1)
                for layout in _variants(shape, dense, request.workload.micro_batches(dp)):
                    yield from (Candidate(layout, recompute) for recompute in ON_GPUS)


def _variants(shape: ModelShape, dense: ParallelLayout, micro_batches: int) -> Iterator[ParallelLayout]:
    """Interleaving and layouts of experts on top of tp, pp, cp and dp."""
    chunks = [v for v in divisors(shape.layers // dense.pp) if v <= MAX_VPP] if dense.pp > 1 else [1]
    ranks = dense.tp * dense.cp * dense.dp
    for etp in sorted({1, dense.tp}) if shape.experts else [dense.tp]:
        for ep in divisors(shape.experts) if shape.experts else [1]:
            if ranks % (ep * etp):
                continue
            for vpp in chunks:
                if vpp > 1 and micro_batches % dense.pp:
                    continue  # Megatron's interleaved schedule goes by groups of pp micro-batches
                layout = replace(dense, vpp=vpp, ep=ep, etp=etp)
                if _divides(shape, layout):
                    yield layout


def _divides(shape: ModelShape, layout: ParallelLayout) -> bool:
    try:
        check_layout(shape, layout)
    except UserError:
        return False
    return True


def divisors(n: int) -> list[int]:
    """Those of a positive number, in ascending order."""
    return [d for d in range(1, n + 1) if n % d == 0]
