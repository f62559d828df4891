"""A Critic in several processes over gloo, for tests: `python -m tests.learner.critic_ranks CASES.json`."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rzero_mega.learner.megatron import compat

compat.install()

from safetensors.torch import load_file  # noqa: E402
from torch import Tensor  # noqa: E402

from rzero_mega import spmd  # noqa: E402
from rzero_mega.config.schema import LearnerConfig, OptimizerConfig, PairwiseConfig, WeightsConfig  # noqa: E402
from rzero_mega.learner.learner import Learner  # noqa: E402
from rzero_mega.learner.megatron.process_groups import start_process_groups  # noqa: E402
from rzero_mega.learner.scorer import SequenceScorer, scored_sequence  # noqa: E402
from rzero_mega.weights.model_parts import write_model  # noqa: E402
from rzero_mega.weights.sources import tensors_of  # noqa: E402
from tests.learner.forked_ranks import LayoutCase, main, run_program  # noqa: E402

VOCABULARY = 61
LEARNER = LearnerConfig(dtype="float32", tokens_per_micro_batch=64)
OPTIMIZER = OptimizerConfig(learning_rate=3e-2, epsilon=1e-1)
STEPS = 3


@dataclass(frozen=True)
class CriticCase(LayoutCase):
    """Train `model` for three steps, the last of them from a checkpoint, and score with what it has become."""

    model: str


@dataclass(frozen=True)
class Outcome:
    """Metrics by step, the scores of the last step's answers by the trained Critic, and its weights."""

    metrics: list[dict[str, float]]
    scores: list[float]
    weights: dict[str, Tensor]


def answers(step: int) -> list[tuple[int, ...]]:
    """Three pairs for each of two updates."""
    draw = random.Random(step)
    return [tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(2, 28))) for _ in range(12)]


def run_cases(cases: Sequence[CriticCase], folder: Path) -> dict[str, Outcome]:
    """Of every case by its name."""
    run_program(__name__, cases, folder)
    return {case.name: _outcome(folder / case.name) for case in cases}


def _outcome(folder: Path) -> Outcome:
    found = json.loads((folder / "found.json").read_text())
    return Outcome(**found, weights=load_file(folder / "model" / "model.safetensors"))


def _learner(case: CriticCase) -> Learner:
    return Learner(Path(case.model), case.layout, LEARNER, PairwiseConfig(3), OPTIMIZER, 1)


def _run(case: CriticCase, folder: Path) -> None:
    start_process_groups(case.layout, 0)
    folder, learner = folder / case.name, _learner(case)
    spmd.on_rank_0(lambda: (folder / "checkpoint").mkdir(parents=True))
    metrics: list[dict[str, Any]] = []
    for step in range(1, STEPS + 1):
        if step == STEPS:
            learner.save(folder / "checkpoint", step - 1)
            learner = _learner(case)
            assert learner.load(folder / "checkpoint") == step - 1
        metrics.append(asdict(learner.train_step([scored_sequence(tokens) for tokens in answers(step)])))
    parted = learner.parted_weights(WeightsConfig())
    stream = tensors_of(parted.source)
    write_model(folder / "model", parted.parts, stream, stream, Path(case.model))
    scores = SequenceScorer(folder / "model", case.layout, LEARNER).score(answers(STEPS))
    if spmd.rank() == 0:
        (folder / "found.json").write_text(json.dumps({"metrics": metrics, "scores": scores}))


if __name__ == "__main__":
    main(CriticCase, _run)
