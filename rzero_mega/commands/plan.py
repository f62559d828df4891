"""The command `plan`: prints which layouts fit a model on a number of GPUs, as a table or as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.planning.hardware import MEMORY_MARGIN
from rzero_mega.planning.overrides import overrides
from rzero_mega.planning.request import PlanRequest
from rzero_mega.planning.search import LayoutEstimate, recommendation
from rzero_mega.terminal import new_console

ROWS = 12
GB = 1e9
WIDTH = 150  # of the whole table; narrower terminals get fewer columns
NARROW = 80
RECOMPUTE, TOKENS, PEAK = "re-\ncompute", "tokens per\nmicro-batch", "peak\nGB"
TRAIN, ROLLOUT, STEP = "train\ns", "rollout\ns", "step\ns"
_KINDS = ("weights", "grads", "optim.", "activ.", "logits", "aside", "rollout\nweights", "KV")
HEADINGS = ("", "layout", RECOMPUTE, TOKENS, *(f"{kind}\nGB" for kind in _KINDS), PEAK, TRAIN, ROLLOUT, STEP)
NOTE = (
    "GB are 1e9 bytes on the GPU that needs most; its peak is the most of training, scoring with the weights put "
    "aside, and rollout. Times are estimates, made to agree with one H100; nothing was compared over several GPUs."
)


def as_json(request: PlanRequest) -> dict[str, Any]:
    """The rows and the one to take, in bytes and seconds; UserError if none fits."""
    chosen, shown = recommendation(request, ROWS)
    return {
        "gpu": asdict(request.gpu),
        "gpus": request.gpus,
        "margin": MEMORY_MARGIN,
        "layouts": [_row_json(estimate, estimate is chosen) for estimate in shown],
        "overrides": overrides(chosen, request),
    }


def _row_json(estimate: LayoutEstimate, chosen: bool) -> dict[str, Any]:
    candidate = estimate.candidate
    return {
        "layout": {**asdict(candidate.layout), "recompute": candidate.recompute},
        "tokens_per_micro_batch": estimate.tokens_per_micro_batch,
        "learner_bytes": asdict(estimate.memory),
        "rollout": asdict(estimate.servers) if estimate.servers else None,
        "peak_bytes": estimate.peak,
        "learner_seconds": asdict(estimate.time),
        "step_seconds": estimate.seconds,
        "picked": chosen,
    }


def show(request: PlanRequest, model: str, terminal: Console | None = None) -> None:
    """Print a table, best first, the one to take marked, and its overrides; UserError if none fits."""
    chosen, shown = recommendation(request, ROWS)
    terminal = terminal or new_console()
    console = terminal if terminal.is_terminal else new_console(width=max(WIDTH, terminal.width), file=terminal.file)
    names = _columns(console.width)
    title = f"{model} on {request.gpus} x {request.gpu.name}"
    table = Table(title=title, caption=NOTE, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for name in names:
        table.add_column(name, no_wrap=True, justify="left" if name in ("", "layout") else "right")
    experts = request.shape.experts > 0
    for estimate in shown:
        marked = estimate is chosen
        cells = _cells(estimate, marked, experts)
        table.add_row(*(cells[name] for name in names), style="bold green" if marked else None)
    console.print(table)
    settings = overrides(chosen, request)
    # A terminal would break the line inside a word, and a shell takes one that is continued.
    lines = _continued(settings, terminal.width) if terminal.is_terminal else [" ".join(settings)]
    terminal.print("\n".join(lines), soft_wrap=True, markup=False, highlight=False)


def _columns(width: int) -> tuple[str, ...]:
    """Headings of the columns for which the terminal has room."""
    if width >= WIDTH:
        return HEADINGS
    if width < NARROW:
        return ("", "layout", PEAK, STEP)
    return ("", "layout", RECOMPUTE, TOKENS, PEAK, TRAIN, ROLLOUT, STEP)


def _continued(words: list[str], width: int) -> list[str]:
    """Lines of these words, all but the last with a backslash at its end."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) + 2 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _sizes(layout: ParallelLayout, experts: bool) -> str:
    """The sizes above one, `tp2 dp8`."""
    sizes = {"tp": layout.tp, "pp": layout.pp, "vpp": layout.vpp, "cp": layout.cp, "dp": layout.dp}
    if experts:
        sizes |= {"ep": layout.ep, "etp": layout.etp}
    return " ".join(f"{name}{size}" for name, size in sizes.items() if size > 1) or "one GPU"


def _cells(estimate: LayoutEstimate, chosen: bool, experts: bool) -> dict[str, str]:
    """{heading: text} of a row."""
    memory, servers = estimate.memory, estimate.servers
    sizes = (
        memory.weights,
        memory.gradients,
        memory.optimizer,
        memory.activations,
        memory.logits,
        memory.reference,
        servers.weights if servers else 0.0,
        servers.kv_cache if servers else 0.0,
        estimate.peak,
    )
    seconds = (estimate.time.seconds, servers.seconds if servers else 0.0, estimate.seconds)
    texts = (
        ">" if chosen else "",
        _sizes(estimate.candidate.layout, experts),
        estimate.candidate.recompute,
        str(estimate.tokens_per_micro_batch),
        *(f"{size / GB:.1f}" for size in sizes),
        *(f"{time:.0f}" if time >= 10 else f"{time:.1f}" for time in seconds),
    )
    return dict(zip(HEADINGS, texts, strict=True))
