"""FP8 recipes against bf16 on a few layers of an 8B model: loss curve, gradient, step time."""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, median

from rzero_mega.config.schema import Fp8Config, LearnerConfig
from rzero_mega.learner.batch import TrainingSequence
from tools.gpu_steps.isolation import Failure, in_own_process
from tools.gpu_steps.models import (
    Gap,
    Sizes,
    chains,
    free_memory,
    gap,
    learner_of,
    logprobs_and_gradients,
    synchronize,
)
from tools.gpu_steps.outcome import StepFailed

BF16 = "bf16"


@dataclass(frozen=True)
class Settings:
    """The model, the batch of a step (`sequences` of `length` tokens, one micro-batch) and how long is trained.

    Only the first `alphabet` tokens of the vocabulary occur, so that there is something to learn in so few steps.

    The loss at the end is the mean of the last `window` steps, and the maximum is taken of means over as many.
    """

    model: Sizes = field(default_factory=lambda: Sizes(4, 4096, 12288, 32, 8, 128, 32000))
    recipes: tuple[str, ...] = ("delayed", "tensorwise", "blockwise")
    sequences: int = 4
    length: int = 2048
    alphabet: int = 1024
    steps: int = 200
    window: int = 20
    warmup: int = 10
    learning_rate: float = 1e-4


@dataclass(frozen=True)
class Curve:
    """Negative log-likelihood per token before each step, and seconds of a step (median after the warm-up).

    `gradient` compares with bf16 on the first batch: the second of two passes, since delayed scaling begins blind.
    """

    losses: list[float]
    step_seconds: float
    gradient: Gap | None


@dataclass(frozen=True)
class Against:
    """A recipe against bf16. `loss_end` and `loss_maximum` are relative differences, `speedup` is bf16's time over it.

    `error` says in one line why a recipe has no figures.
    """

    loss_end: float | None = None
    loss_maximum: float | None = None
    speedup: float | None = None
    gradient: Gap | None = None
    error: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Every recipe against bf16, and the curves behind it."""

    recipes: dict[str, Against]
    curves: dict[str, Curve]


def run(settings: Settings) -> dict[str, object]:
    """Train with every recipe in a process of its own; StepFailed if one of them cannot."""
    curves: dict[str, Curve] = {}
    errors: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = settings.model.write(Path(name))
        for recipe in (BF16, *settings.recipes):
            # Transformer Engine keeps state of delayed scaling for the whole process.
            curve = in_own_process(train, folder, settings, recipe)
            if isinstance(curve, Failure):
                errors[recipe] = curve.reason
            else:
                curves[recipe] = curve
    if BF16 in errors:
        raise StepFailed(f"bf16: {errors[BF16]}", {})
    recipes = {r: compare(curves[BF16], curves[r], settings.window) for r in settings.recipes if r in curves}
    recipes |= {recipe: Against(error=error) for recipe, error in errors.items()}
    found = asdict(Comparison(recipes, curves))
    if errors:
        raise StepFailed("; ".join(f"{recipe}: {error}" for recipe, error in errors.items()), found)
    return found


def train(folder: Path, settings: Settings, recipe: str) -> Curve:
    """The curve of a recipe (or `bf16`) in this process."""
    learner_config = learner_settings(recipe)
    first = _batch(settings, 0)
    gradient = None
    if recipe != BF16:
        _, expected = logprobs_and_gradients(folder, learner_settings(BF16), first)
        free_memory()
        _, found = logprobs_and_gradients(folder, learner_config, first, passes=2)
        gradient = gap(expected, found)
        del expected, found
        free_memory()
    learner = learner_of(folder, learner_config, settings.learning_rate, settings.length)
    losses, seconds = [], []
    for step in range(settings.steps):
        batch = _batch(settings, step)
        start = time.perf_counter()
        metrics = learner.train_step(batch)
        synchronize()
        seconds.append(time.perf_counter() - start)
        losses.append(metrics.logprob_difference)
    return Curve(losses, median(seconds[min(settings.warmup, settings.steps - 1) :]), gradient)


def learner_settings(recipe: str) -> LearnerConfig:
    """The learner's configuration for a recipe, or for `bf16`."""
    fp8 = Fp8Config() if recipe == BF16 else Fp8Config(format="hybrid", recipe=recipe)
    if recipe == "delayed":
        fp8.amax_history_length, fp8.amax_algorithm = 16, "max"
    elif recipe == "blockwise":
        fp8.format = "e4m3"  # scales of blocks leave no need for e5m2's range
    return LearnerConfig(dtype="bfloat16", tokens_per_micro_batch=1 << 20, fp8=fp8)


def compare(bf16: Curve, other: Curve, window: int) -> Against:
    """Relative differences of smoothed losses."""
    pairs = list(zip(_smooth(bf16.losses, window), _smooth(other.losses, window), strict=True))
    differences = [abs(b - a) / a for a, b in pairs]
    return Against(differences[-1], max(differences), bf16.step_seconds / other.step_seconds, other.gradient)


def _smooth(losses: list[float], window: int) -> list[float]:
    return [fmean(losses[i : i + window]) for i in range(max(1, len(losses) - window + 1))]


def _batch(settings: Settings, step: int) -> list[TrainingSequence]:
    return chains(settings.sequences, settings.length, settings.alphabet, seed=step)
