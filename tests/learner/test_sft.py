"""Supervised fine-tuning in the learner: the loss of transformers on the same weights, in every layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig, OptimizerConfig, SftConfig
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.learner import Learner
from tests.learner.ranks import TrainingCase, rollouts, run_cases

TOLERANCE = 1e-5
VOCABULARY = 61
LAYOUTS: dict[str, dict[str, Any]] = {"tp2": {"tp": 2, "sequence_parallel": True}, "pp2": {"pp": 2}, "dp2": {"dp": 2}}


def examples() -> list[TrainingSequence]:
    return [TrainingSequence.written(s.prompt, s.response) for s in rollouts(1, VOCABULARY)]


def cross_entropy(hf: Any, sequences: list[TrainingSequence]) -> float:
    """By transformers in float64, mean over the tokens of all completions."""
    hf, total, count = hf.double(), 0.0, 0
    for sequence in sequences:
        tokens = torch.tensor([[*sequence.prompt, *sequence.response]])
        labels = tokens.clone()
        labels[:, : len(sequence.prompt)] = -100
        with torch.no_grad():
            total += hf(tokens, labels=labels).loss.item() * len(sequence.response)
        count += len(sequence.response)
    return total / count


def test_the_loss_is_that_of_transformers_and_falls(
    tiny_model: Callable[..., Any], alone: ParallelLayout, tmp_path: Path
) -> None:
    hf = tiny_model("qwen3", vocab_size=VOCABULARY)
    hf.save_pretrained(tmp_path)
    settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=64)
    learner = Learner(tmp_path, alone, settings, SftConfig(9), OptimizerConfig(learning_rate=1e-2), longest_response=30)
    steps = [learner.train_step(examples()) for _ in range(10)]
    assert steps[0].loss == pytest.approx(cross_entropy(hf, examples()), abs=TOLERANCE)
    assert steps[0].updates == 1 and steps[0].tokens == sum(len(s.response) for s in examples())
    assert steps[0].entropy > 1 and (steps[0].kl, steps[0].ratio, steps[0].clip_fraction) == (0, 0, 0)
    assert steps[-1].loss < 0.8 * steps[0].loss


@pytest.mark.gloo
def test_every_layout_trains_the_model_that_a_single_process_trains(
    tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    tiny_model("qwen3", num_hidden_layers=2, vocab_size=VOCABULARY).save_pretrained(tmp_path / "model")
    settings: dict[str, Any] = {
        "sft": True,
        "grpo": {"sequences_per_update": 3},
        "optimizer": {"learning_rate": 3e-2, "epsilon": 1e-1},
        "last": 2,
    }
    cases = [TrainingCase(name, str(tmp_path / "model"), **layout, **settings) for name, layout in LAYOUTS.items()]
    found = run_cases([TrainingCase("single", str(tmp_path / "model"), **settings), *cases], tmp_path)
    expected = found["single"]
    assert expected.metrics[0]["updates"] == 3 and expected.metrics[0]["grad_norm"] > 0.1
    for name in LAYOUTS:
        for ours, theirs in zip(found[name].metrics, expected.metrics, strict=True):
            assert ours == pytest.approx(theirs, abs=TOLERANCE, rel=TOLERANCE), name
        for tensor, weight in expected.weights.items():
            torch.testing.assert_close(found[name].weights[tensor], weight, atol=TOLERANCE, rtol=0, msg=name)
