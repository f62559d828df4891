"""A checkpoint written by a process without a GPU, loaded into the model that trains on the GPU."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from rzero_mega.config.schema import LearnerConfig
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.learner import Learner
from rzero_mega.weights.safetensors_file import raw_bytes
from tools.gpu_steps.models import Gap, Sizes, chains, gap, learner_of
from tools.gpu_steps.outcome import StepFailed


@dataclass(frozen=True)
class Settings:
    """The model, the batch, and the steps that the CPU trains before it saves."""

    model: Sizes = field(default_factory=lambda: Sizes(2, 256, 512, 4, 2, 64, 4096))
    sequences: int = 4
    length: int = 64
    steps: int = 2
    learning_rate: float = 1e-3
    dtype: str = "bfloat16"


@dataclass(frozen=True)
class Loaded:
    """What was found after loading. `untrained` compares the log-probabilities with the model before training.

    `tensors_equal` counts exported tensors whose bytes are those that the CPU exported; `next_step` is the gap of
    log-probabilities after both sides have trained one more step from the checkpoint.
    """

    step: int
    tensors: int
    tensors_equal: int
    logprobs: Gap
    untrained: Gap
    next_step: Gap


def run(settings: Settings) -> Loaded:
    """Write the checkpoint in another process that sees no GPU, and load it here."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = settings.model.write(folder / "model")
        (folder / "checkpoint").mkdir()
        _write_elsewhere(folder, settings)
        written = json.loads((folder / "written.json").read_text(encoding="utf-8"))
        learner = _learner(model, settings)
        untrained = learner.score(_batch(settings, 0))
        step = learner.load(folder / "checkpoint")
        logprobs = learner.score(_batch(settings, 0))
        digests = _digests(learner)
        learner.train_step(_batch(settings, settings.steps + 1))
        after = learner.score(_batch(settings, 0))
    found = Loaded(
        step=step,
        tensors=len(digests),
        tensors_equal=sum(written["digests"].get(name) == digest for name, digest in digests.items()),
        logprobs=_gap(written["logprobs"], logprobs),
        untrained=_gap(written["logprobs"], untrained),
        next_step=_gap(written["after"], after),
    )
    if found.tensors_equal != found.tensors or step != settings.steps:
        message = f"{found.tensors - found.tensors_equal} of {found.tensors} tensors differ, step {step}"
        raise StepFailed(f"what was loaded is not what was saved: {message}", asdict(found))
    return found


def _write_elsewhere(folder: Path, settings: Settings) -> None:
    (folder / "settings.json").write_text(json.dumps(asdict(settings)), encoding="utf-8")
    command = [sys.executable, "-m", "tools.gpu_steps.checkpoint", str(folder)]
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(f"the process without a GPU failed: {lines[-1] if lines else done.returncode}")


def _write(folder: Path) -> None:
    found = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    settings = Settings(**{**found, "model": Sizes(**found["model"])})
    assert not torch.cuda.is_available()
    learner = _learner(folder / "model", settings)
    for step in range(1, settings.steps + 1):
        learner.train_step(_batch(settings, step))
    learner.save(folder / "checkpoint", settings.steps)
    written = {"logprobs": learner.score(_batch(settings, 0)), "digests": _digests(learner)}
    learner.train_step(_batch(settings, settings.steps + 1))
    written["after"] = learner.score(_batch(settings, 0))
    (folder / "written.json").write_text(json.dumps(written), encoding="utf-8")


def _learner(model: Path, settings: Settings) -> Learner:
    learner = LearnerConfig(dtype=settings.dtype, tokens_per_micro_batch=1 << 20)
    return learner_of(model, learner, settings.learning_rate, settings.length)


def _batch(settings: Settings, step: int) -> list[TrainingSequence]:
    return chains(settings.sequences, settings.length, settings.model.vocab, seed=step)


def _digests(learner: Learner) -> dict[str, str]:
    return {name: hashlib.sha256(raw_bytes(tensor.cpu().contiguous())).hexdigest() for name, tensor in learner.export()}


def _gap(first: list[list[float]], second: list[list[float]]) -> Gap:
    return gap({"logprobs": _flat(first)}, {"logprobs": _flat(second)})


def _flat(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([value for row in rows for value in row])


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
