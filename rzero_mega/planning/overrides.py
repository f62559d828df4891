"""An estimate as settings for `rzero-mega run`."""

from __future__ import annotations

from rzero_mega.planning.request import PlanRequest
from rzero_mega.planning.search import LayoutEstimate, room_for_servers
from rzero_mega.planning.servers import ServersEstimate, fastest_servers, servers_estimates


def overrides(estimate: LayoutEstimate, request: PlanRequest) -> list[str]:
    """`key=value` settings that bring the estimate's layout, placement and servers about, over any recipe."""
    layout = estimate.candidate.layout
    settings: dict[str, object] = {
        **_placement(request),
        "learner.processes": layout.processes,
        "learner.layout.tp": layout.tp,
        "learner.layout.pp": layout.pp,
        "learner.layout.vpp": layout.vpp,
        "learner.layout.cp": layout.cp,
        "learner.layout.ep": layout.ep,
        "learner.layout.etp": layout.etp if request.shape.experts else "null",
        "learner.layout.sequence_parallel": str(layout.sequence_parallel).lower(),
        "learner.recompute": estimate.candidate.recompute,
        "learner.tokens_per_micro_batch": estimate.tokens_per_micro_batch,
        "learner.offload": "all" if estimate.server_placement == "turns" else "none",
        "learner.fp8.format": "hybrid" if request.workload.fp8 else "none",
        "learner.lora.rank": request.workload.adapter_rank or "null",
    }
    servers = estimate.servers
    if request.server_placement == "elsewhere":
        # On as many further GPUs: the estimate has nothing of them, but the settings must be whole.
        servers = fastest_servers(servers_estimates(request), room_for_servers(request))
    if servers is not None:
        settings |= _servers(servers, request)
    return [f"{key}={value}" for key, value in settings.items()]


def _placement(request: PlanRequest) -> dict[str, object]:
    node, apart = request.gpus_per_node, request.server_placement == "elsewhere"
    gpus = request.gpus * (2 if apart else 1)
    return {
        "placement.nodes": -(-gpus // node),
        "placement.gpus_per_node": node,
        "placement.servers": "split" if apart else "colocated",
    }


def _servers(servers: ServersEstimate, request: PlanRequest) -> dict[str, object]:
    workload = request.workload
    longest = min(workload.smallest_micro_batch, request.shape.max_positions)
    first_node_alone = _placement(request)["placement.nodes"] == 1
    return {
        "rollout.engine": "sglang",
        "rollout.sglang.tp": servers.tp,
        "rollout.sglang.replicas": servers.replicas,
        "rollout.sglang.host": "127.0.0.1" if first_node_alone else "0.0.0.0",
        "rollout.sglang.max_running_requests": servers.concurrent,
        "rollout.sglang.max_total_tokens": max(servers.concurrent * workload.length, longest),
        "rollout.sglang.context_length": longest,
    }
