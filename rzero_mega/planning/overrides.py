"""An estimate as settings for `rzero-mega run`."""

from __future__ import annotations

from rzero_mega.planning.request import PlanRequest
from rzero_mega.planning.search import LayoutEstimate


def overrides(estimate: LayoutEstimate, request: PlanRequest) -> list[str]:
    """`key=value` settings that bring the estimate's layout and servers about."""
    layout, servers = estimate.candidate.layout, estimate.servers
    settings: dict[str, object] = {
        "learner.processes": layout.processes,
        "learner.layout.tp": layout.tp,
        "learner.layout.pp": layout.pp,
        "learner.layout.vpp": layout.vpp,
        "learner.layout.cp": layout.cp,
        "learner.layout.sequence_parallel": str(layout.sequence_parallel).lower(),
        "learner.recompute": estimate.candidate.recompute,
        "learner.tokens_per_micro_batch": estimate.tokens_per_micro_batch,
    }
    if request.shape.experts:
        settings |= {"learner.layout.ep": layout.ep, "learner.layout.etp": layout.etp}
    if request.workload.fp8:
        settings["learner.fp8.format"] = "hybrid"
    if servers is not None:
        settings |= {
            "rollout.engine": "sglang",
            "rollout.sglang.tp": servers.tp,
            "rollout.sglang.replicas": servers.replicas,
            "rollout.sglang.max_running_requests": servers.concurrent,
            "rollout.sglang.max_total_tokens": servers.concurrent * request.workload.length,
            "rollout.sglang.context_length": request.workload.length,
        }
    if estimate.server_placement == "turns":
        settings["learner.offload"] = "all"
    return [f"{key}={value}" for key, value in settings.items()]
