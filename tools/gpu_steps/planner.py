"""The planner's memory against what torch holds on this GPU, at layers of an 8B model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rzero_mega.planning.candidate import ON_GPUS, Recompute
from rzero_mega.planning.models import model_named
from rzero_mega.weights.shape import ModelShape
from tools.bench_planner import Case, compare
from tools.gpu_steps.models import free_memory


@dataclass(frozen=True)
class Settings:
    """The model, one micro-batch of it, and what is recomputed."""

    shape: ModelShape = field(default_factory=lambda: replace(model_named("Qwen3-8B"), layers=4))
    sequences: int = 4
    length: int = 2048
    recompute: tuple[Recompute, ...] = ON_GPUS


@dataclass(frozen=True)
class Bytes:
    """Of one kind of memory; `error` is relative to what was measured."""

    predicted: float
    measured: float
    error: float


@dataclass(frozen=True)
class Memory:
    """Every kind of memory by what is recomputed."""

    recompute: dict[str, dict[str, Bytes]]


def run(settings: Settings) -> Memory:
    """Train the model for a step in each way."""
    found: dict[str, dict[str, Bytes]] = {}
    for recompute in settings.recompute:
        case = Case(recompute, settings.shape, "bfloat16", recompute, settings.sequences, settings.length)
        found[recompute] = {row.kind: Bytes(row.predicted, row.measured, row.error) for row in compare(case)}
        free_memory()
    return Memory(found)
