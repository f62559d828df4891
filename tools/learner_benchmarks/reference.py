"""Train steps whose reference is swapped into the model, against a second model that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.megatron.model import Model, build_gpt, load_weights, transformer_config
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.learner.megatron.spec import layer_spec
from rzero_mega.learner.references import References
from rzero_mega.weights.mapping.names import global_parameters
from tools.learner_benchmarks.rollouts import rollouts
from tools.measurement import Peak, alternate
from tools.random_model import SHAPES, write_random_model

SHAPE, SEQUENCES = "100m", 8


@dataclass
class Reference:
    """`nbytes` is what a process needs for the learner and its steps, `host_nbytes` the reference's copy there."""

    way: str
    parameters: int
    tokens: int
    nbytes: int
    host_nbytes: int


class HeldTwiceLearner(Learner):
    """Keeps the reference in a second model on the training device."""

    def __init__(self, model_folder: Path, layout: ParallelLayout, learner: LearnerConfig, *others: Any) -> None:
        super().__init__(model_folder, layout, learner, *others)
        shape = self._model.shape
        config = transformer_config(shape, layout, learner)
        gpt = build_gpt(shape, config, layer_spec(config, None)).requires_grad_(False)
        second = replace(self._model, config=config, chunks=[gpt], parameters=dict(global_parameters(gpt)))
        load_weights(second, model_folder)
        self._references = _SecondModel(second)


class _SecondModel(References):
    """The reference in a model of its own."""

    def __init__(self, model: Model) -> None:
        self._model, self._start, self._base = model, {}, None

    @contextmanager
    def _holding(self, shards: Mapping[str, Tensor]) -> Iterator[Model]:
        yield self._model


WAYS: dict[str, type[Learner]] = {"swapped": Learner, "held twice": HeldTwiceLearner}


def write_model(folder: Path) -> Path:
    """The random model of this comparison, in fp32."""
    write_random_model(folder, SHAPES[SHAPE], torch.float32)
    return folder


def seconds(repeats: int, model: Path) -> dict[str, float]:
    """Median seconds of a step of each way."""
    learners = {name: _learner(name, model) for name in WAYS}
    batch = _batch()
    return alternate(repeats, {name: lambda name=name: learners[name].train_step(batch) for name in WAYS})  # type: ignore[misc]


def memory(way: str, model: Path) -> Reference:
    """What two steps of one way need; this process must have done nothing else yet."""
    batch = _batch()
    with Peak() as peak:
        learner = _learner(way, model)
        for _ in range(2):
            learner.train_step(batch)
    parameters = sum(weight.numel() for weight in learner._model.local_weights().values())
    return Reference(way, parameters, sum(s.length for s in batch), peak.nbytes, learner._references.host_nbytes)


def _batch() -> Any:
    return rollouts("solver", SEQUENCES).sequences


def _learner(way: str, model: Path) -> Learner:
    layout = ParallelLayout()
    start_process_groups(layout, 0)
    grpo = GrpoConfig(sequences_per_update=SEQUENCES)
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=512)
    return WAYS[way](model, layout, settings, grpo, OptimizerConfig(), 512)
