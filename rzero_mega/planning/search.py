"""Which layouts fit, how they compare, and the one to take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rzero_mega.errors import UserError
from rzero_mega.planning.candidate import RECOMPUTE, Candidate, candidates
from rzero_mega.planning.hardware import MEMORY_MARGIN
from rzero_mega.planning.memory import LearnerMemory, learner_memory
from rzero_mega.planning.request import MAX_GPUS, PlanRequest, ServerPlacement
from rzero_mega.planning.servers import ServersEstimate, fastest_servers, servers_estimates
from rzero_mega.planning.step_time import StepTime, step_time

# Of a GPU's memory, as the recipes have it (--mem-fraction-static): the rest is for the CUDA graphs of both roles.
SERVER_SHARE = 0.8


@dataclass(frozen=True)
class LayoutEstimate:
    """A candidate with what it needs. `servers` is None where rollouts happen elsewhere."""

    candidate: Candidate
    tokens_per_micro_batch: int
    memory: LearnerMemory
    time: StepTime
    servers: ServersEstimate | None
    server_placement: ServerPlacement

    @property
    def peak(self) -> float:
        """The most bytes on one GPU at any time."""
        if self.servers is None:
            return self.memory.peak
        if self.server_placement == "turns":
            return max(self.memory.peak, self.servers.memory)
        return self.memory.peak + self.servers.memory

    @property
    def seconds(self) -> float:
        """Of one training step: rollouts, scoring passes, updates."""
        return self.time.seconds + (self.servers.seconds if self.servers else 0.0)


def estimates(request: PlanRequest) -> list[LayoutEstimate]:
    """Those that fit, fastest first, among equals the ones that split the model the least."""
    everything, room = request.gpu.memory, _room(request)
    found = []
    placement = request.server_placement
    choices = [] if placement == "elsewhere" else servers_estimates(request)
    alone = fastest_servers(choices, room_for_servers(request))
    if placement == "turns" and alone is None:
        return []
    for workload in request.workloads:
        for candidate in candidates(replace(request, workload=workload)):
            memory = learner_memory(request.shape, candidate, workload)
            if memory.peak > everything:
                continue
            servers = fastest_servers(choices, room - memory.peak) if placement == "resident" else alone
            if placement == "resident" and servers is None:
                continue
            time = step_time(request.shape, candidate, workload, request.gpu, request.gpus_per_node)
            tokens = workload.tokens_per_micro_batch
            found.append(LayoutEstimate(candidate, tokens, memory, time, servers, placement))
    return sorted(found, key=_order)


def recommended(request: PlanRequest, found: list[LayoutEstimate]) -> LayoutEstimate | None:
    """The fastest that leaves MEMORY_MARGIN of the GPU's memory free."""
    return next((estimate for estimate in found if estimate.peak <= _room(request)), None)


def best_of_each_split(found: list[LayoutEstimate], chosen: LayoutEstimate) -> list[LayoutEstimate]:
    """One estimate, the chosen or else the best, for each way of splitting the model; the order is kept."""
    best: dict[tuple[int, ...], LayoutEstimate] = {}
    for estimate in found:
        layout = estimate.candidate.layout
        split = (layout.tp, layout.pp, layout.cp, layout.ep, layout.etp)
        if estimate is chosen or split not in best:
            best[split] = estimate
    return sorted(best.values(), key=_order)


def recommendation(request: PlanRequest, rows: int) -> tuple[LayoutEstimate, list[LayoutEstimate]]:
    """(the one to take, the best `rows` splits with it among them, best first); UserError if none leaves the margin."""
    found = estimates(request)
    chosen = recommended(request, found)
    if chosen is None:
        raise nothing_fits(request)
    shown = best_of_each_split(found, chosen)[:rows]
    return chosen, shown if chosen in shown else [*shown[: rows - 1], chosen]


def nothing_fits(request: PlanRequest) -> UserError:
    """The error that says how much is missing, and what would help."""
    least = min(
        (learner_memory(request.shape, c, request.workloads[-1]) for c in candidates(request)),
        key=lambda memory: memory.peak,
        default=None,
    )
    if least is None:
        return UserError(f"--gpus {request.gpus}: no layout of as many GPUs divides the model; try a power of two")
    missing, who = least.peak - _room(request), "the learner"
    if request.server_placement != "elsewhere":
        smallest = min(servers.memory for servers in servers_estimates(request))
        if request.server_placement == "resident":
            missing, who = missing + smallest, "learner and servers"
        elif smallest > room_for_servers(request):
            missing, who = smallest - room_for_servers(request), "a server"
    return UserError(
        f"nothing fits on {request.gpus} {request.gpu.name} with {MEMORY_MARGIN:.0%} free: {who} needs "
        f"{missing / 1e9:.1f} GB (1e9 bytes) more per GPU; {_remedy(request)}"
    )


def _remedy(request: PlanRequest) -> str:
    """The first change, of a few, that makes something fit."""
    changes = []
    workload = request.workload
    smallest = workload.smallest_micro_batch
    if not request.smaller_micro_batches and workload.tokens_per_micro_batch > smallest:
        smaller = replace(workload, tokens_per_micro_batch=smallest)
        changes.append((f"--tokens-per-micro-batch {smallest} would do", replace(request, workload=smaller)))
    if request.server_placement == "resident":
        changes.append(("--rollout turns would do", replace(request, server_placement="turns")))
    for text, changed in changes:
        if recommended(changed, estimates(changed)):
            return text
    gpus = request.gpus
    for _ in range(8):
        gpus *= 2
        more = replace(request, gpus=gpus)
        whole_nodes = gpus <= request.gpus_per_node or gpus % request.gpus_per_node == 0
        if whole_nodes and gpus <= MAX_GPUS and recommended(more, estimates(more)):
            return f"--gpus {gpus} would do"
    return "shorter sequences (--length, --longest), fewer --tokens-per-micro-batch or GPUs with more memory would help"


def room_for_servers(request: PlanRequest) -> float:
    """Bytes of a GPU for weights and KV cache where nothing else is on it: who waits for its turn keeps a part."""
    return min(_room(request), SERVER_SHARE * request.gpu.memory)


def _room(request: PlanRequest) -> float:
    return request.gpu.memory * (1 - MEMORY_MARGIN)


def _order(estimate: LayoutEstimate) -> tuple[float, ...]:
    layout, recompute = estimate.candidate.layout, estimate.candidate.recompute
    splits = layout.tp * layout.pp * layout.cp * layout.vpp
    return (estimate.seconds, splits, RECOMPUTE.index(recompute), estimate.peak)
