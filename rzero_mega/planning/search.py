"""The layouts that a number of GPUs allows for a model, which of them fit, and the one to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from rzero_mega.errors import UserError
from rzero_mega.planning.candidate import Candidate, Recompute, Rollout, Workload
from rzero_mega.planning.hardware import Gpu
from rzero_mega.planning.layout_rules import check_layout
from rzero_mega.planning.memory import LearnerMemory, learner_memory
from rzero_mega.planning.serving import Serving, best_serving, servings
from rzero_mega.planning.step_time import StepTime, step_time
from rzero_mega.weights.shape import ModelShape

# Of a GPU's memory, for CUDA's context, NCCL's buffers and fragmentation.
MARGIN = 0.10
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")
MOST_CHUNKS = 4  # of layers on a pipeline stage
MOST_GPUS = 16384


@dataclass(frozen=True)
class PlanRequest:
    """What is to be planned.

    `rollout` says where SGLang's servers are: on the same GPUs, learner and servers leaving them to each other in
    `turns`; on the same, both `resident` all the time; or `elsewhere`. `concurrent` sequences per server: None takes
    as many as fit.
    """

    shape: ModelShape
    gpus: int
    gpu: Gpu
    work: Workload = field(default_factory=Workload)
    gpus_per_node: int = 8
    rollout: Rollout = "turns"
    concurrent: int | None = None
    smaller_micro_batches: bool = False

    @property
    def works(self) -> list[Workload]:
        """The work with every size of micro-batch to try, none smaller than a sequence."""
        tokens, found = self.work.tokens_per_micro_batch, [self.work]
        while self.smaller_micro_batches and tokens // 2 >= self.work.length:
            tokens //= 2
            found.append(replace(self.work, tokens_per_micro_batch=tokens))
        return found


@dataclass(frozen=True)
class Plan:
    """A candidate with what it needs. `serving` is None where rollouts happen elsewhere."""

    candidate: Candidate
    tokens_per_micro_batch: int
    memory: LearnerMemory
    time: StepTime
    serving: Serving | None
    rollout: Rollout

    @property
    def peak(self) -> float:
        """The most bytes on one GPU at any time."""
        if self.serving is None:
            return self.memory.peak
        if self.rollout == "turns":
            return max(self.memory.peak, self.serving.memory)
        return self.memory.peak + self.serving.memory

    @property
    def seconds(self) -> float:
        """Of one training step: rollouts, scoring passes, updates."""
        return self.time.seconds + (self.serving.seconds if self.serving else 0.0)


def candidates(request: PlanRequest) -> Iterator[Candidate]:
    """Every layout of the GPUs that divides the model; tp and cp stay inside a node."""
    shape, gpus, node = request.shape, request.gpus, min(request.gpus, request.gpus_per_node)
    for tp in _divisors(node):
        for cp in _divisors(node // tp):
            for pp in _divisors(shape.layers):
                if gpus % (tp * cp * pp):
                    continue
                dp = gpus // (tp * cp * pp)
                if dp > 1 and dp > request.work.sequences_per_update:
                    continue  # ranks without a sequence
                dense = Candidate(tp, pp, 1, cp, dp, 1, tp, sequence_parallel=tp > 1)
                yield from _variants(shape, dense, request.work.micro_batches(dp))


def _variants(shape: ModelShape, dense: Candidate, micro_batches: int) -> Iterator[Candidate]:
    """Interleaving, experts' layouts and recompute on top of tp, pp, cp and dp."""
    chunks = [v for v in _divisors(shape.layers // dense.pp) if v <= MOST_CHUNKS] if dense.pp > 1 else [1]
    ranks = dense.tp * dense.cp * dense.dp
    for etp in sorted({1, dense.tp}) if shape.experts else [dense.tp]:
        for ep in _divisors(shape.experts) if shape.experts else [1]:
            if ranks % (ep * etp):
                continue
            for vpp in chunks:
                if vpp > 1 and micro_batches % dense.pp:
                    continue  # Megatron's interleaved schedule goes by groups of pp micro-batches
                found = replace(dense, vpp=vpp, ep=ep, etp=etp)
                if _divides(shape, found):
                    yield from (replace(found, recompute=recompute) for recompute in RECOMPUTE)


def _divides(shape: ModelShape, candidate: Candidate) -> bool:
    try:
        check_layout(shape, candidate)
    except UserError:
        return False
    return True


def plans(request: PlanRequest) -> list[Plan]:
    """Those that fit, fastest first, fewest ways of cutting first among equals."""
    everything, room = request.gpu.memory, request.gpu.memory * (1 - MARGIN)
    found = []
    servers = [] if request.rollout == "elsewhere" else _servings(request)
    turns = best_serving(servers, room)
    if request.rollout == "turns" and turns is None:
        return []
    for work in request.works:
        for candidate in candidates(replace(request, work=work)):
            memory = learner_memory(request.shape, candidate, work)
            if memory.peak > everything:
                continue
            serving = best_serving(servers, room - memory.peak) if request.rollout == "resident" else turns
            if request.rollout == "resident" and serving is None:
                continue
            time = step_time(request.shape, candidate, work, request.gpu, request.gpus_per_node)
            found.append(Plan(candidate, work.tokens_per_micro_batch, memory, time, serving, request.rollout))
    return sorted(found, key=_order)


def _order(plan: Plan) -> tuple[float, ...]:
    c = plan.candidate
    return (plan.seconds, c.tp * c.pp * c.cp * c.vpp, RECOMPUTE.index(c.recompute), plan.peak)


def _servings(request: PlanRequest) -> list[Serving]:
    q = request
    return servings(q.shape, q.work, q.gpu, q.gpus, q.gpus_per_node, q.concurrent)


def picked(request: PlanRequest, found: list[Plan]) -> Plan | None:
    """The fastest of the plans that leaves MARGIN of the GPU's memory free."""
    return next((plan for plan in found if plan.peak <= request.gpu.memory * (1 - MARGIN)), None)


def best_of_each_cut(found: list[Plan], chosen: Plan) -> list[Plan]:
    """One plan, the chosen or else the best, for each way of cutting the model; the order is kept."""
    best: dict[tuple[int, ...], Plan] = {}
    for plan in found:
        c = plan.candidate
        cut = (c.tp, c.pp, c.cp, c.ep, c.etp)
        if plan is chosen or cut not in best:
            best[cut] = plan
    return sorted(best.values(), key=_order)


def check_request(request: PlanRequest) -> None:
    """UserError for numbers that no plan can be made of."""
    q, work = request, request.work
    for option, value in (
        ("--gpus", q.gpus),
        ("--gpus-per-node", q.gpus_per_node),
        ("--tokens-per-micro-batch", work.tokens_per_micro_batch),
        ("--sequences", work.sequences),
        ("--length", work.length),
        ("--concurrent", 1 if q.concurrent is None else q.concurrent),
    ):
        if value < 1:
            raise UserError(f"{option} {value}: needs to be at least 1")
    if q.gpus > MOST_GPUS:
        raise UserError(f"--gpus {q.gpus}: at most {MOST_GPUS} are planned for")
    if q.gpus > q.gpus_per_node and q.gpus % q.gpus_per_node:
        raise UserError(f"--gpus {q.gpus}: not a multiple of the {q.gpus_per_node} of a node (--gpus-per-node)")
    if work.length > work.tokens_per_micro_batch:
        raise UserError(
            f"--tokens-per-micro-batch {work.tokens_per_micro_batch}: less than one sequence of --length {work.length}"
        )
    if work.fp8 and q.gpu.fp8_flops is None:
        raise UserError(f"--fp8: {q.gpu.name} has no FP8; leave it out")


def nothing_fits(request: PlanRequest) -> UserError:
    """The error that says how much is missing, and what would help."""
    room = request.gpu.memory * (1 - MARGIN)
    least = min(
        (learner_memory(request.shape, c, request.works[-1]) for c in candidates(request)),
        key=lambda memory: memory.peak,
        default=None,
    )
    if least is None:
        return UserError(f"--gpus {request.gpus}: no layout of as many GPUs divides the model; try a power of two")
    missing, who = least.peak - room, "the learner"
    if request.rollout != "elsewhere":
        smallest = min(serving.memory for serving in _servings(request))
        if request.rollout == "resident":
            missing, who = missing + smallest, "learner and servers"
        elif smallest > least.peak:
            missing, who = smallest - room, "a server"
    return UserError(
        f"nothing fits on {request.gpus} {request.gpu.name} with {MARGIN:.0%} free: {who} needs "
        f"{missing / 1e9:.1f} GB (1e9 bytes) more per GPU; {_remedy(request)}"
    )


def _remedy(request: PlanRequest) -> str:
    """The first change, of a few, that makes something fit."""
    changes = []
    work = request.work
    if not request.smaller_micro_batches and work.tokens_per_micro_batch > work.length:
        smaller = replace(work, tokens_per_micro_batch=work.length)
        changes.append((f"--tokens-per-micro-batch {work.length} would do", replace(request, work=smaller)))
    if request.rollout == "resident":
        changes.append(("--rollout turns would do", replace(request, rollout="turns")))
    for text, changed in changes:
        if picked(changed, plans(changed)):
            return text
    gpus = request.gpus
    for _ in range(8):
        gpus *= 2
        more = replace(request, gpus=gpus)
        whole_nodes = gpus <= request.gpus_per_node or gpus % request.gpus_per_node == 0
        if whole_nodes and gpus <= MOST_GPUS and picked(more, plans(more)):
            return f"--gpus {gpus} would do"
    return "fewer --tokens-per-micro-batch, shorter --length or GPUs with more memory would help"


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, n + 1) if n % d == 0]
