"""The models that KL terms compare with: what they score, how many copies and passes they take, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, LossConfig, OptimizerConfig, SftConfig
from rzero_mega.learner import forward_backward, references
from rzero_mega.learner import learner as learner_module
from rzero_mega.learner.learner import Learner
from rzero_mega.planning.flops import SequenceCost
from rzero_mega.planning.hardware import GPUS
from tests.learner.ranks import rollouts

VOCABULARY = 61
LEARNER = LearnerConfig(dtype="float32", tokens_per_micro_batch=64)
BOTH = GrpoConfig(sequences_per_update=9, kl_coefficient=0.1, kl_base_coefficient=0.2)

Build = Callable[..., Learner]


@pytest.fixture(scope="module")
def models(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("start", "base")):
        tiny_model("qwen3", seed=seed, vocab_size=VOCABULARY).save_pretrained(folder / name)
    return {name: folder / name for name in ("start", "base")}


@pytest.fixture
def build(models: dict[str, Path], alone: ParallelLayout) -> Build:
    def build(loss: LossConfig, base: str | None = None, dtype: str = "float32") -> Learner:
        optimizer, settings = OptimizerConfig(learning_rate=1e-2), replace(LEARNER, dtype=dtype)
        folder = None if base is None else models[base]
        return Learner(models["start"], alone, settings, loss, optimizer, 30, 0.7, folder)

    return build


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for every pass with other weights than the policy's."""
    found: list[int] = []
    real = forward_backward.score

    def counted(*arguments: Any) -> Any:
        found.append(1)
        return real(*arguments)

    monkeypatch.setattr(references, "score", counted)
    return found


def test_the_terms_are_measured_against_the_start_and_the_base(build: Build, tiny_model: Callable[..., Any]) -> None:
    """Before the first update nothing differs from the start; from the base it is k3 over its tokens, at 0.7."""
    sequences = rollouts(1, VOCABULARY)
    first = build(BOTH, "base").train_step(sequences)
    logprobs = {
        name: [
            torch.log_softmax(hf(torch.tensor([[*s.prompt, *s.response]])).logits[0, len(s.prompt) - 1 : -1] / 0.7, -1)
            .gather(1, torch.tensor(s.response)[:, None])
            .detach()
            for s in sequences
        ]
        for name, hf in (("start", tiny_model("qwen3", seed=0)), ("base", tiny_model("qwen3", seed=1)))
    }
    differences = torch.cat(logprobs["base"]) - torch.cat(logprobs["start"])
    expected = (differences.exp() - differences - 1).clamp(max=10.0).mean().item()
    assert first.kl == pytest.approx(0.0, abs=1e-6)
    assert first.kl_base == pytest.approx(expected, rel=1e-4) and expected > 0.05


def test_a_base_that_is_the_start_takes_no_second_copy_and_no_second_pass(build: Build, passes: list[int]) -> None:
    for config, base, copies in (
        (BOTH, None, 1),
        (BOTH, "base", 2),
        (replace(BOTH, kl_coefficient=0.0), "base", 1),
        (replace(BOTH, kl_coefficient=0.0), None, 1),
        (replace(BOTH, kl_base_coefficient=0.0), "base", 1),
        (replace(BOTH, kl_coefficient=0.0, kl_base_coefficient=0.0), "base", 0),
        (SftConfig(9), "base", 0),
    ):
        passes.clear()
        learner = build(config, base)
        learner.train_step(rollouts(1, VOCABULARY))
        weights = sum(tensor.nbytes for _, tensor in learner.export())
        assert (len(passes), learner._references.host_nbytes) == (copies, copies * weights), (config, base)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_term_alone_trains_alike_whichever_it_is_where_start_and_base_are_one_model(build: Build, dtype: str) -> None:
    start, base = (
        build(GrpoConfig(sequences_per_update=3, kl_coefficient=a, kl_base_coefficient=b), "start", dtype)
        for a, b in ((0.1, 0.0), (0.0, 0.1))
    )
    for step in (1, 2):
        by_start, by_base = (learner.train_step(rollouts(step, VOCABULARY)) for learner in (start, base))
        assert (by_base.loss, by_base.grad_norm, by_base.kl_base) == (by_start.loss, by_start.grad_norm, by_start.kl)
    assert by_start.kl > 0 and by_start.kl_base == 0


def test_the_policy_has_its_own_weights_back_after_the_passes(build: Build) -> None:
    learner = build(BOTH, "base")
    before = {name: tensor.clone() for name, tensor in learner.export()}
    learner._references.score(learner._micro_batches(rollouts(1, VOCABULARY)), 1.0)
    assert all(tensor.equal(before[name]) for name, tensor in learner.export())


def test_the_term_pulls_the_policy_to_the_base(build: Build) -> None:
    sequences = [replace(sequence, advantage=0.0) for sequence in rollouts(1, VOCABULARY)]
    learner = build(GrpoConfig(sequences_per_update=9, kl_coefficient=0.0, kl_base_coefficient=1.0), "base")
    measured = [learner.train_step(sequences).kl_base for _ in range(12)]
    assert measured[-1] < measured[0] / 2


@pytest.mark.parametrize(
    ("loss", "base", "passes"),
    [
        (GrpoConfig(sequences_per_update=9, kl_coefficient=0.0), None, 0),
        (GrpoConfig(sequences_per_update=9, kl_coefficient=0.1), None, 1),
        (BOTH, None, 1),
        (BOTH, "base", 2),
        (replace(BOTH, sequences_per_update=3), "base", 3),  # with several updates the old policy is scored as well
        (SftConfig(sequences_per_update=9), None, 0),
    ],
)
def test_mfu_counts_the_passes_of_a_step(
    build: Build, loss: LossConfig, base: str | None, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, sequences = build(loss, base, "bfloat16"), rollouts(1, VOCABULARY)
    assert trained.utilisation(sequences, 2.0) is None, "there is no GPU here"
    monkeypatch.setattr(learner_module, "_gpu", lambda: GPUS["H100"])
    cost = SequenceCost.of(trained.shape)
    flops = (3 + passes) * sum(cost(sequence.length) for sequence in sequences)
    assert trained.utilisation(sequences, 2.0) == pytest.approx(flops / (2.0 * GPUS["H100"].bf16_flops))
    assert build(loss, base).utilisation(sequences, 2.0) is None, "nothing is known of fp32"
