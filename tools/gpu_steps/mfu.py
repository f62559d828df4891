"""Model FLOPs utilisation and tokens per second of the learner's own step at layers of an 8B model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.learner import Learner
from rzero_mega.planning.candidate import Candidate
from rzero_mega.planning.flops import training_flops
from rzero_mega.planning.hardware import Gpu, gpu_of_device
from rzero_mega.planning.memory import learner_memory
from rzero_mega.planning.step_time import step_time
from rzero_mega.planning.workload import Workload
from rzero_mega.weights.shape import ModelShape, read_shape
from tools.gpu_steps.fp8 import BF16, learner_settings
from tools.gpu_steps.isolation import Failure, in_own_process
from tools.gpu_steps.models import Sizes, chains, learner_of, synchronize
from tools.gpu_steps.outcome import StepFailed

VARIANTS: dict[str, dict[str, Any]] = {
    "unfused": {"fused_kernels": False},
    "deterministic": {"deterministic": True},
    "offloading": {"offload": "all"},
}


@dataclass(frozen=True)
class Settings:
    """A layer's sizes, a step's sequences, and the measurement.

    `layers` None takes as many as the planner says fit into `memory_share` of the GPU, at most those of an 8B model;
    where that is too many, `fewer` are left out at a time.
    """

    layer: Sizes = field(default_factory=lambda: Sizes(36, 4096, 12288, 32, 8, 128, 151936))
    layers: int | None = None
    precisions: tuple[str, ...] = (BF16, "delayed", "tensorwise", "blockwise")
    sequences: int = 16
    length: int = 2048
    tokens_per_micro_batch: int = 8192
    warmup: int = 3
    steps: int = 8
    memory_share: float = 0.88
    fewer: int = 2


@dataclass(frozen=True)
class Speed:
    """A precision's median step. MFU is of the peak of bf16 and, for FP8, of FP8's; None on an unknown GPU.

    `planned_` is what the planner says of the same step.
    """

    precision: str
    layers: int
    step_seconds: float
    tokens_per_second: float
    model_flops: float
    tflops_per_second: float
    mfu_bf16: float | None
    mfu_fp8: float | None
    peak_memory_bytes: int
    planned_step_seconds: float | None
    planned_memory_bytes: float


@dataclass(frozen=True)
class Speeds:
    """All precisions, at the same number of layers; `speedup` is bf16's time over the precision's."""

    gpu: str | None
    tokens: int
    speeds: dict[str, Speed]
    speedup: dict[str, float]


def run(settings: Settings) -> dict[str, object]:
    """Measure every precision in a process of its own; StepFailed names those without a figure."""
    layers = settings.layers or fitting_layers(settings, torch.cuda.get_device_properties(0).total_memory)
    errors: dict[str, str] = {}
    speeds: dict[str, Speed] = {}
    with tempfile.TemporaryDirectory() as name:
        folder: Path | None = None
        for precision in settings.precisions:
            while precision not in speeds and precision not in errors:
                folder = folder or replace(settings.layer, layers=layers).write(Path(name) / str(layers))
                found = in_own_process(measure, folder, settings, precision)
                if not isinstance(found, Failure):
                    speeds[precision] = found
                elif found.reason.startswith("OutOfMemoryError") and layers > settings.fewer and not speeds:
                    layers, folder = layers - settings.fewer, None
                else:
                    errors[precision] = found.reason
    base = speeds.get(BF16)
    speedup = {name: base.step_seconds / speed.step_seconds for name, speed in speeds.items()} if base else {}
    gpu = _this_gpu()
    report = Speeds(gpu.name if gpu else None, settings.sequences * settings.length, speeds, speedup)
    if errors:
        raise StepFailed("; ".join(f"{name}: {error}" for name, error in errors.items()), asdict(report))
    return asdict(report)


def measure(folder: Path, settings: Settings, precision: str, then: Callable[[Learner], None] | None = None) -> Speed:
    """Time steps of the model in `folder` in this process; a step is one update of several micro-batches.

    `precision` may also be one of VARIANTS. `then` has the learner afterwards.
    """
    config = replace(configuration(precision), tokens_per_micro_batch=settings.tokens_per_micro_batch)
    learner = learner_of(folder, config, 1e-6, settings.length)
    seconds = []
    for step in range(settings.warmup + settings.steps):
        batch = chains(settings.sequences, settings.length, settings.layer.vocab, seed=step)
        synchronize()
        start = time.perf_counter()
        learner.train_step(batch)
        synchronize()
        seconds.append(time.perf_counter() - start)
    peak_memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    if then is not None:
        then(learner)
    step_seconds = median(seconds[settings.warmup :])
    shape = read_shape(folder)
    flops = training_flops(shape, [settings.length] * settings.sequences)
    gpu, work = _this_gpu(), workload(settings, precision)
    return Speed(
        precision=precision,
        layers=shape.layers,
        step_seconds=step_seconds,
        tokens_per_second=settings.sequences * settings.length / step_seconds,
        model_flops=flops,
        tflops_per_second=flops / step_seconds / 1e12,
        mfu_bf16=utilisation(flops, step_seconds, gpu.bf16_flops if gpu else None),
        mfu_fp8=utilisation(flops, step_seconds, gpu.fp8_flops if gpu else None) if is_fp8(precision) else None,
        peak_memory_bytes=peak_memory,
        planned_step_seconds=step_time(shape, Candidate(), work, gpu, gpus_per_node=1).seconds if gpu else None,
        planned_memory_bytes=learner_memory(shape, Candidate(), work).training,
    )


def configuration(precision: str) -> LearnerConfig:
    """The learner's for a precision, or for bf16 with what one of VARIANTS changes."""
    changes = VARIANTS.get(precision)
    return learner_settings(precision) if changes is None else replace(learner_settings(BF16), **changes)


def is_fp8(precision: str) -> bool:
    """Whether linear layers are in FP8."""
    return precision != BF16 and precision not in VARIANTS


def utilisation(flops: float, seconds: float, peak: float | None) -> float | None:
    """Share of the peak FLOP/s of the data sheet (planning.hardware, dense), None without one."""
    return None if peak is None else flops / seconds / peak


def workload(settings: Settings, precision: str) -> Workload:
    """A step as the planner takes it."""
    return Workload(
        sequences=settings.sequences,
        length=settings.length,
        tokens_per_micro_batch=settings.tokens_per_micro_batch,
        sequences_per_update=settings.sequences,
        scoring_passes=0,
        fp8=is_fp8(precision),
    )


def fitting_layers(settings: Settings, memory: int) -> int:
    """Most layers whose training the planner expects to fit; at least one."""
    work, layer = workload(settings, BF16), settings.layer
    for layers in range(layer.layers, 1, -1):
        shape = ModelShape(
            "qwen3", layers, layer.hidden, layer.ffn, layer.heads, layer.kv_heads, layer.head_dim, layer.vocab,
            40960, 1e-6, 1e6, None, False, True, False,
        )  # fmt: skip
        if learner_memory(shape, Candidate(), work).training <= settings.memory_share * memory:
            return layers
    return 1


def _this_gpu() -> Gpu | None:
    return gpu_of_device(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
