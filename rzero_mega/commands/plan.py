"""The command `plan`: which layouts fit a model on a number of GPUs, as a table or for machines."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, get_args

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rzero_mega.errors import UserError
from rzero_mega.planning.candidate import Candidate, Rollout, Workload
from rzero_mega.planning.hardware import gpu_named
from rzero_mega.planning.models import model_named
from rzero_mega.planning.overrides import overrides
from rzero_mega.planning.search import (
    MARGIN,
    Plan,
    PlanRequest,
    best_of_each_cut,
    check_request,
    nothing_fits,
    picked,
    plans,
)

ROWS = 12
MOST_TOKENS_PER_MICRO_BATCH = 16384
GB = 1e9
WIDTH = 150  # of the whole table; a narrower terminal breaks its lines
NOTE = (
    "GB are 1e9 bytes on the GPU that needs most; its peak is the most of training, scoring with the weights put "
    "aside, and rollout. Times are estimates: one H100 took 1.3 times as long in bf16, 2.1 times in FP8."
)


def request_of(
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
    """The command's options, checked; UserError names the option."""
    found: Rollout | None = next((choice for choice in get_args(Rollout) if choice == rollout), None)
    if found is None:
        raise UserError(f"--rollout {rollout}: is one of {', '.join(get_args(Rollout))}")
    tokens = tokens_per_micro_batch if tokens_per_micro_batch is not None else max(length, MOST_TOKENS_PER_MICRO_BATCH)
    request = PlanRequest(
        shape=model_named(model),
        gpus=gpus,
        gpu=gpu_named(gpu),
        work=Workload(sequences=sequences, length=length, tokens_per_micro_batch=tokens, fp8=fp8),
        gpus_per_node=gpus_per_node,
        rollout=found,
        concurrent=concurrent,
        smaller_micro_batches=tokens_per_micro_batch is None,
    )
    check_request(request)
    return request


def answer(request: PlanRequest) -> tuple[Plan, list[Plan]]:
    """(the one to take, all that are worth showing, best first); UserError if none fits with the margin."""
    found = plans(request)
    chosen = picked(request, found)
    if chosen is None:
        raise nothing_fits(request)
    shown = best_of_each_cut(found, chosen)[:ROWS]
    return chosen, shown if chosen in shown else [*shown[: ROWS - 1], chosen]


def as_json(request: PlanRequest) -> dict[str, Any]:
    """The rows and the picked one, bytes and seconds."""
    chosen, shown = answer(request)
    return {
        "gpu": asdict(request.gpu),
        "gpus": request.gpus,
        "margin": MARGIN,
        "layouts": [_row_json(plan, plan is chosen) for plan in shown],
        "overrides": overrides(chosen, request),
    }


def _row_json(plan: Plan, chosen: bool) -> dict[str, Any]:
    return {
        "layout": asdict(plan.candidate),
        "tokens_per_micro_batch": plan.tokens_per_micro_batch,
        "learner_bytes": asdict(plan.memory),
        "rollout": asdict(plan.serving) if plan.serving else None,
        "peak_bytes": plan.peak,
        "learner_seconds": asdict(plan.time),
        "step_seconds": plan.seconds,
        "picked": chosen,
    }


def show(request: PlanRequest, model: str) -> None:
    """Print a table, best first, the picked one marked, and the overrides that bring it about."""
    chosen, shown = answer(request)
    terminal = Console()
    console = terminal if terminal.width >= WIDTH else Console(width=WIDTH)
    title = f"{model} on {request.gpus} x {request.gpu.name}"
    table = Table(title=title, caption=NOTE, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("")
    table.add_column("layout", no_wrap=True)
    for name in ("re-\ncompute", "tokens per\nmicro-batch"):
        table.add_column(name, justify="right")
    for name in ("weights", "grads", "optim.", "activ.", "logits", "aside", "rollout\nweights", "KV", "peak"):
        table.add_column(f"{name}\nGB", justify="right")
    for name in ("train", "rollout", "step"):
        table.add_column(f"{name}\ns", justify="right")
    for plan in shown:
        experts = request.shape.experts > 0
        table.add_row(*_cells(plan, plan is chosen, experts), style="bold green" if plan is chosen else None)
    console.print(table)
    print(" ".join(overrides(chosen, request)))


def _layout(candidate: Candidate, experts: bool) -> str:
    """The sizes above one, `tp2 dp8`."""
    c = candidate
    sizes = {"tp": c.tp, "pp": c.pp, "vpp": c.vpp, "cp": c.cp, "dp": c.dp}
    if experts:
        sizes |= {"ep": c.ep, "etp": c.etp}
    return " ".join(f"{name}{size}" for name, size in sizes.items() if size > 1) or "one GPU"


def _cells(plan: Plan, chosen: bool, experts: bool) -> list[str]:
    m, s = plan.memory, plan.serving
    sizes = (
        m.weights, m.gradients, m.optimizer, m.activations, m.logits, m.reference,
        s.weights if s else 0.0, s.kv_cache if s else 0.0, plan.peak,
    )  # fmt: skip
    seconds = (plan.time.seconds, s.seconds if s else 0.0, plan.seconds)
    return [
        ">" if chosen else "",
        _layout(plan.candidate, experts),
        plan.candidate.recompute,
        str(plan.tokens_per_micro_batch),
        *(f"{size / GB:.1f}" for size in sizes),
        *(f"{time:.0f}" if time >= 10 else f"{time:.1f}" for time in seconds),
    ]
