"""What is to be planned, and the numbers that no plan can be made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from rzero_mega.errors import UserError
from rzero_mega.planning.hardware import Gpu, gpu_named
from rzero_mega.planning.models import model_named
from rzero_mega.planning.workload import Workload
from rzero_mega.weights.shape import ModelShape

# Where SGLang's servers are: on the learner's GPUs, learner and servers leaving them to each other in `turns`; on the
# same, both `resident` all the time; or `elsewhere`.
ServerPlacement = Literal["turns", "resident", "elsewhere"]
MAX_GPUS = 16384
# The largest micro-batch that is tried where none is asked for.
MAX_TOKENS_PER_MICRO_BATCH = 16384


@dataclass(frozen=True)
class PlanRequest:
    """A model, GPUs, and the training step that they are to do.

    `concurrent` sequences per server: None takes as many as fit. With `smaller_micro_batches` micro-batches of fewer
    tokens than the workload's are tried, too.
    """

    shape: ModelShape
    gpus: int
    gpu: Gpu
    workload: Workload = field(default_factory=Workload)
    gpus_per_node: int = 8
    server_placement: ServerPlacement = "turns"
    concurrent: int | None = None
    smaller_micro_batches: bool = False

    @classmethod
    def from_options(
        cls,
        *,
        model: str,
        gpus: int,
        gpu: str,
        gpus_per_node: int,
        tokens_per_micro_batch: int | None,
        sequences: int,
        length: int,
        concurrent: int | None,
        rollout: str,
        fp8: bool,
    ) -> PlanRequest:
        """The options of `rzero-mega plan`, checked; UserError names the option."""
        placement: ServerPlacement | None = next(
            (known for known in get_args(ServerPlacement) if known == rollout), None
        )
        if placement is None:
            raise UserError(f"--rollout {rollout}: is one of {', '.join(get_args(ServerPlacement))}")
        tokens = (
            tokens_per_micro_batch if tokens_per_micro_batch is not None else max(length, MAX_TOKENS_PER_MICRO_BATCH)
        )
        request = cls(
            shape=model_named(model),
            gpus=gpus,
            gpu=gpu_named(gpu),
            workload=Workload(sequences=sequences, length=length, tokens_per_micro_batch=tokens, fp8=fp8),
            gpus_per_node=gpus_per_node,
            server_placement=placement,
            concurrent=concurrent,
            smaller_micro_batches=tokens_per_micro_batch is None,
        )
        check_request(request)
        return request

    @property
    def workloads(self) -> list[Workload]:
        """The workload with every size of micro-batch to try, none smaller than a sequence."""
        tokens, found = self.workload.tokens_per_micro_batch, [self.workload]
        while self.smaller_micro_batches and tokens // 2 >= self.workload.length:
            tokens //= 2
            found.append(replace(self.workload, tokens_per_micro_batch=tokens))
        return found


def check_request(request: PlanRequest) -> None:
    """UserError for numbers that no plan can be made of; it names the option."""
    gpus, node, workload = request.gpus, request.gpus_per_node, request.workload
    for option, value in (
        ("--gpus", gpus),
        ("--gpus-per-node", node),
        ("--tokens-per-micro-batch", workload.tokens_per_micro_batch),
        ("--sequences", workload.sequences),
        ("--length", workload.length),
        ("--concurrent", 1 if request.concurrent is None else request.concurrent),
    ):
        if value < 1:
            raise UserError(f"{option} {value}: needs to be at least 1")
    if gpus > MAX_GPUS:
        raise UserError(f"--gpus {gpus}: at most {MAX_GPUS} are planned for")
    if gpus > node and gpus % node:
        raise UserError(f"--gpus {gpus}: not a multiple of the {node} of a node (--gpus-per-node)")
    if workload.length > workload.tokens_per_micro_batch:
        raise UserError(
            f"--tokens-per-micro-batch {workload.tokens_per_micro_batch}: less than one sequence of "
            f"--length {workload.length}"
        )
    if workload.fp8 and request.gpu.fp8_flops is None:
        raise UserError(f"--fp8: {request.gpu.name} has no FP8; leave it out")
