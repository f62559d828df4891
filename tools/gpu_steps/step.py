"""One step of the learner at a shape of which a full run's kernels are made, in one variant, by the step's name."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from rzero_mega.learner.learner import Learner
from tools.gpu_steps import mfu
from tools.gpu_steps.fp8 import BF16
from tools.gpu_steps.models import Sizes, chains, free_memory, learner_of, synchronize
from tools.gpu_steps.outcome import StepFailed

# Of an 8B model seven layers, and all layers as a rank of tensor parallelism over four has them, without the exchange.
SEVEN_LAYERS = Sizes(7, 4096, 12288, 32, 8, 128, 151936)
RANK_OF_FOUR = Sizes(36, 4096, 3072, 8, 2, 128, 37984)
# A layer of Qwen3-30B-A3B.
EXPERTS = Sizes(1, 2048, 6144, 32, 4, 128, 151936, experts=128)


@dataclass(frozen=True)
class Settings:
    """A model's sizes, the variant or precision of `mfu`, and what is looked at besides time.

    `kernels` is how many of the kernels that take most time are listed. With `repeated` a model of those sizes is
    trained twice from the same start, to see whether the weights come out the same.
    """

    model: Sizes
    precision: str = BF16
    kernels: int = 0
    repeated: Sizes | None = None
    times: mfu.Settings = field(default_factory=lambda: mfu.Settings(warmup=3, steps=6))


# Gigabytes that nobody wants among the figures.
MODELS = Path(tempfile.gettempdir()) / f"rzero-mega-gpu-lane-{os.getuid()}"
STEPS = {
    "step_bf16": Settings(SEVEN_LAYERS, "offloading", kernels=25),
    "step_delayed": Settings(SEVEN_LAYERS, "delayed"),
    "step_tensorwise": Settings(SEVEN_LAYERS, "tensorwise"),
    "step_deterministic": Settings(SEVEN_LAYERS, "deterministic", repeated=Sizes()),
    "step_unfused": Settings(SEVEN_LAYERS, "unfused"),
    "rank_bf16": Settings(RANK_OF_FOUR),
    "rank_delayed": Settings(RANK_OF_FOUR, "delayed"),
    "experts": Settings(EXPERTS),
    "experts_unfused": Settings(EXPERTS, "unfused"),
}


@dataclass(frozen=True)
class Kernel:
    """Where time goes: a kernel, how often it ran in a step, and its seconds there."""

    name: str
    calls: int
    seconds: float


def run(settings: Settings, models: Path) -> dict[str, Any]:
    """Its speed and what else is asked for. Models of random weights are kept in `models`, for the steps after it."""
    found: dict[str, Any] = {}
    if settings.repeated is not None:
        found["same_bits"] = same_bits(settings, settings.repeated, written(settings.repeated, models))
        free_memory()

    def look(learner: Learner) -> None:
        if settings.kernels:
            found["kernels"] = [asdict(kernel) for kernel in kernels(learner, settings)]
        if mfu.configuration(settings.precision).offload != "none":
            found["parking"] = parking(learner)

    times = replace(settings.times, layer=settings.model)
    found["speed"] = asdict(mfu.measure(written(settings.model, models), times, settings.precision, look))
    if found.get("same_bits") is False:
        raise StepFailed("the same step gave other weights", found)
    return found


def written(sizes: Sizes, models: Path) -> Path:
    """The folder of a model of these sizes, which is there whole or not at all."""
    name = hashlib.sha256(repr(sizes).encode()).hexdigest()[:16]
    part = models / f"{name}.part"
    if not (models / name).is_dir():
        shutil.rmtree(part, ignore_errors=True)  # of a step that was ended
        part.mkdir(parents=True)
        sizes.write(part).rename(models / name)
    return models / name


def kernels(learner: Learner, settings: Settings) -> list[Kernel]:
    """Those of one more step that take most time: the GPU's, or without one the CPU's operations."""
    on_gpu = torch.cuda.is_available()
    batch = chains(settings.times.sequences, settings.times.length, settings.model.vocab, seed=-1)
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as profiled:
        learner.train_step(batch)
        synchronize()
    rows: Iterable[Any] = profiled.key_averages()
    spent = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    every = [Kernel(row.key, row.count, getattr(row, spent) / 1e6) for row in rows]
    return sorted(every, key=lambda kernel: -kernel.seconds)[: settings.kernels]


def parking(learner: Learner) -> dict[str, float]:
    """Seconds until the learner's memory is free for others, and until it is back."""
    synchronize()
    start = time.perf_counter()
    with learner.offloaded():
        synchronize()
        away = time.perf_counter()
    synchronize()
    return {"offload_seconds": away - start, "reload_seconds": time.perf_counter() - away}


def same_bits(settings: Settings, sizes: Sizes, folder: Path) -> bool:
    """Whether two trainings from the same start end with the same weights."""
    return _digest(settings, sizes, folder) == _digest(settings, sizes, folder)


def _digest(settings: Settings, sizes: Sizes, folder: Path) -> str:
    times = settings.times
    config = replace(mfu.configuration(settings.precision), tokens_per_micro_batch=times.tokens_per_micro_batch)
    learner = learner_of(folder, config, 1e-3, times.length)
    for step in range(3):
        learner.train_step(chains(times.sequences, times.length, sizes.vocab, seed=step))
    digest = hashlib.sha256()
    for name, weight in learner.export():
        digest.update(name.encode())
        digest.update(weight.contiguous().cpu().view(torch.uint8).numpy().tobytes())
    learner.close()
    return digest.hexdigest()
