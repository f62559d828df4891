"""What is to be planned, and the numbers that no plan can be made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError
from rzero_mega.planning.hardware import Gpu, gpu_named
from rzero_mega.planning.layout_rules import check_lora
from rzero_mega.planning.models import model_named
from rzero_mega.planning.workload import Workload
from rzero_mega.weights.shape import ModelShape

# Where SGLang's servers are: on the learner's GPUs, learner and servers leaving them to each other in `turns`; on the
# same, both `resident` all the time; or `elsewhere`.
ServerPlacement = Literal["turns", "resident", "elsewhere"]
MAX_GPUS = 16384
MAX_LAYERS = 10_000
# The largest micro-batch that is tried where none is asked for.
MAX_TOKENS_PER_MICRO_BATCH = 16384
# The longest prompt with the longest response in the recipes for GPUs: their learner.tokens_per_micro_batch.
LONGEST = 12_288
# Of any number that is given: products of a few are still far below what floats hold.
LARGEST = 2**31


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
        model: str | None,
        gpus: int,
        gpu: str,
        gpus_per_node: int | None,
        tokens_per_micro_batch: int | None,
        sequences: int | None,
        length: int | None,
        longest: int | None,
        concurrent: int | None,
        rollout: str,
        fp8: bool,
        recipe: Config | None = None,
    ) -> PlanRequest:
        """The options of `rzero-mega plan`, checked; UserError names the option.

        What is None is taken from the recipe, or else as the recipes for GPUs have it.
        """
        known = recipe or Config()
        if model is None and recipe is None:
            raise UserError("--model: needed, or --recipe")
        name = known.model.path if model is None else model
        longest = (known.learner.tokens_per_micro_batch if recipe else LONGEST) if longest is None else longest
        length = min(Workload.length, longest) if length is None else length
        sequences = _sequences(known) if sequences is None else sequences
        fp8 = fp8 or known.learner.fp8.format != "none"
        gpus_per_node = known.placement.gpus_per_node if gpus_per_node is None else gpus_per_node
        placement: ServerPlacement | None = next(
            (known for known in get_args(ServerPlacement) if known == rollout), None
        )
        if placement is None:
            raise UserError(f"--rollout {rollout}: is one of {', '.join(get_args(ServerPlacement))}")
        tokens = tokens_per_micro_batch
        if tokens is None:
            tokens = max(length, longest, MAX_TOKENS_PER_MICRO_BATCH)
        request = cls(
            shape=model_named(name),
            gpus=gpus,
            gpu=gpu_named(gpu),
            workload=Workload(
                sequences=sequences,
                length=length,
                longest=longest,
                tokens_per_micro_batch=tokens,
                sequences_per_update=_per_update(known),
                scoring_passes=_scoring_passes(known),
                element_bytes=4 if known.learner.dtype == "float32" else 2,
                fp8=fp8,
                adapter_rank=known.learner.lora.rank or 0,
                adapted=tuple(known.learner.lora.modules),
                critic=known.critic.scalar,
            ),
            gpus_per_node=gpus_per_node,
            server_placement=placement,
            concurrent=concurrent,
            smaller_micro_batches=tokens_per_micro_batch is None,
        )
        check_lora(known.learner.lora, request.shape)
        check_request(request)
        return request

    @property
    def workloads(self) -> list[Workload]:
        """The workload with every size of micro-batch to try, none smaller than the longest sequence."""
        sizes, smallest = [self.workload.tokens_per_micro_batch], self.workload.smallest_micro_batch
        while self.smaller_micro_batches and sizes[-1] > smallest:
            sizes.append(max(sizes[-1] // 2, smallest))
        return [replace(self.workload, tokens_per_micro_batch=size) for size in sizes]


def _sequences(config: Config) -> int:
    """Rollouts of a step, of the role that draws more."""
    return max(t.prompts_per_step * t.rollouts_per_prompt for t in (config.challenger.training, config.solver.training))


def _per_update(config: Config) -> int:
    return min(t.grpo.sequences_per_update for t in (config.challenger.training, config.solver.training))


def _scoring_passes(config: Config) -> int:
    """Old policy and reference, and the base model for a role that compares with it."""
    roles = (config.challenger.training, config.solver.training)
    return Workload.scoring_passes + any(training.grpo.kl_base_coefficient > 0 for training in roles)


def check_request(request: PlanRequest) -> None:
    """UserError for numbers that no plan can be made of; it names the option."""
    gpus, node, workload = request.gpus, request.gpus_per_node, request.workload
    for option, value in (
        ("--gpus", gpus),
        ("--gpus-per-node", node),
        ("--sequences", workload.sequences),
        ("--length", workload.length),
        ("--longest", max(workload.longest, 1)),
        ("--tokens-per-micro-batch", workload.tokens_per_micro_batch),
        ("--concurrent", 1 if request.concurrent is None else request.concurrent),
    ):
        if value < 1:
            raise UserError(f"{option} {value}: needs to be at least 1")
        if value > LARGEST:
            raise UserError(f"{option}: at most {LARGEST} are planned for")
    if gpus > MAX_GPUS:
        raise UserError(f"--gpus {gpus}: at most {MAX_GPUS} are planned for")
    if gpus > node and gpus % node:
        raise UserError(f"--gpus {gpus}: not a multiple of the {node} of a node (--gpus-per-node)")
    if workload.smallest_micro_batch > workload.tokens_per_micro_batch:
        option = "--length" if workload.length >= workload.longest else "--longest"
        raise UserError(
            f"--tokens-per-micro-batch {workload.tokens_per_micro_batch}: less than one sequence of "
            f"{option} {workload.smallest_micro_batch}"
        )
    sizes = (request.shape.layers, request.shape.hidden, request.shape.ffn, request.shape.vocab, request.shape.heads)
    if max(sizes) > LARGEST or request.shape.layers > MAX_LAYERS:
        raise UserError(f"--model: at most {MAX_LAYERS} layers, and sizes of {LARGEST}, are planned for")
    if workload.fp8 and workload.critic:
        raise UserError("--fp8: a recipe with a scalar Critic has none (critic.form); leave it out")
    if workload.fp8 and request.gpu.fp8_flops is None:
        raise UserError(f"--fp8: {request.gpu.name} has no FP8; leave it out")
