"""A plan as settings for `rzero-mega run`."""

from __future__ import annotations

from rzero_mega.planning.search import Plan, PlanRequest


def overrides(plan: Plan, request: PlanRequest) -> list[str]:
    """`key=value` settings that bring the plan about."""
    c, serving = plan.candidate, plan.serving
    settings: dict[str, object] = {
        "learner.processes": c.gpus,
        "learner.layout.tp": c.tp,
        "learner.layout.pp": c.pp,
        "learner.layout.vpp": c.vpp,
        "learner.layout.cp": c.cp,
        "learner.layout.sequence_parallel": str(c.sequence_parallel).lower(),
        "learner.recompute": c.recompute,
        "learner.tokens_per_micro_batch": plan.tokens_per_micro_batch,
    }
    if request.shape.experts:
        settings |= {"learner.layout.ep": c.ep, "learner.layout.etp": c.etp}
    if request.work.fp8:
        settings["learner.fp8.format"] = "hybrid"
    if serving is not None:
        settings |= {
            "rollout.engine": "sglang",
            "rollout.sglang.tp": serving.tp,
            "rollout.sglang.replicas": serving.replicas,
            "rollout.sglang.max_running_requests": serving.concurrent,
            "rollout.sglang.max_total_tokens": serving.concurrent * request.work.length,
            "rollout.sglang.context_length": request.work.length,
        }
    if plan.rollout == "turns":
        settings["learner.offload"] = "all"
    return [f"{key}={value}" for key, value in settings.items()]
