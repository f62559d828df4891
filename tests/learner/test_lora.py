"""Adapters: what they begin as, their gradients, that no layout changes them, and what a checkpoint of them holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, LoraConfig, OptimizerConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints.safe_files import tensor_names
from rzero_mega.learner.learner import Learner
from rzero_mega.planning.parameters import trained_parameters
from rzero_mega.planning.workload import Workload
from tests.learner.ranks import Outcome, TrainingCase, rollouts, run_cases

VOCABULARY = 61
LEARNER = LearnerConfig(dtype="float32", tokens_per_micro_batch=64, lora=LoraConfig(rank=4))
WHOLE = replace(LEARNER, lora=LoraConfig())
GRPO = {"sequences_per_update": 3, "kl_coefficient": 0.05, "clip_low": 0.02, "clip_high": 0.03}
OPTIMIZER = {"learning_rate": 3e-2, "epsilon": 1e-1}
LAYOUTS: dict[str, dict[str, Any]] = {
    "tp2": {"tp": 2},
    "tp2-pp2-sequence-parallel": {"tp": 2, "pp": 2, "sequence_parallel": True},
    "dp2-from-tp2-pp2": {"dp": 2},
}

Build = Callable[..., Learner]


@pytest.fixture(scope="module")
def folders(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    keys: dict[str, dict[str, Any]] = {"start": {}, "other": {"seed": 1}, "tied": {"tie_word_embeddings": True}}
    for name, more in keys.items():
        tiny_model("qwen3", vocab_size=VOCABULARY, **more).save_pretrained(folder / name)
    tiny_model("qwen3_moe").save_pretrained(folder / "experts")
    return {name: folder / name for name in (*keys, "experts")}


@pytest.fixture
def build(folders: dict[str, Path], alone: ParallelLayout) -> Build:
    def build(
        model: str = "start", settings: LearnerConfig = LEARNER, base: Path | None = None, **grpo: Any
    ) -> Learner:
        loss = GrpoConfig(**{**GRPO, **grpo})
        return Learner(folders[model], alone, settings, loss, OptimizerConfig(**OPTIMIZER), 30, 1.0, base)

    return build


def weights_of(learner: Learner) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.export()}


def test_adapters_begin_as_the_base_and_change_the_layers_that_are_named_alone(build: Build) -> None:
    some = replace(LEARNER, lora=LoraConfig(rank=2, modules=["linear_qkv", "linear_fc2"]))
    learner, whole = build(settings=some), build(settings=WHOLE)
    sequences, before = rollouts(1, VOCABULARY), weights_of(whole)
    assert learner.score(sequences) == whole.score(sequences)
    assert weights_of(learner).keys() == before.keys()
    work = Workload(adapter_rank=2, adapted=tuple(some.lora.modules))
    planned = trained_parameters(learner.shape, ParallelLayout(), 0, work)
    assert planned.dense == sum(parameter.numel() for parameter in learner._model.trained.values())
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(learner).items())
    learner.train_step(sequences)
    changed = {name for name, weight in weights_of(learner).items() if not torch.equal(weight, before[name])}
    named = ("q_proj", "k_proj", "v_proj", "down_proj")
    assert changed == {name for name in before if name.removesuffix(".weight").endswith(named)}


def test_gradients_are_those_of_the_whole_weights_through_the_product(build: Build) -> None:
    """With W' = W + s B A: dB = s dW' Aᵀ and dA = s Bᵀ dW', of a learner that trains W'."""
    learner, whole = build(kl_coefficient=0.0), build(settings=WHOLE, kl_coefficient=0.0)
    learner.train_step(rollouts(1, VOCABULARY))
    whole._model.copy_in(learner._model.local_weights())
    for one in (learner, whole):
        (update,) = one._local_updates([rollouts(2, VOCABULARY)[:3]])
        one._compute_gradients(update)
    assert len(learner._model.adapters) == 8
    for name, adapter in learner._model.adapters.items():
        parameters: Any = (whole._model.parameters[name], adapter.a, adapter.b)
        weight, a, b = (parameter.main_grad for parameter in parameters)
        torch.testing.assert_close(b, adapter.scale * weight @ adapter.a.T, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(a, adapter.scale * adapter.b.T @ weight, rtol=1e-4, atol=1e-6)
        assert a.abs().max() > 1e-4


def test_layers_that_are_computed_again_train_alike(build: Build) -> None:
    plain, again = build(), build(settings=replace(LEARNER, recompute="full"))
    for learner in (plain, again):
        learner.train_step(rollouts(1, VOCABULARY))
    kept = weights_of(plain)
    assert all(torch.equal(weight, kept[name]) for name, weight in weights_of(again).items())


def test_the_reference_is_the_model_without_adapters_and_takes_no_copy(build: Build, folders: dict[str, Path]) -> None:
    learner, sequences = build(kl_base_coefficient=0.1, base=folders["other"]), rollouts(1, VOCABULARY)
    first = learner.score(sequences)
    other = build("other", WHOLE).score(sequences)
    learner.train_step(sequences)
    trained = learner.score(sequences)
    batches = learner._micro_batches(sequences)
    start, base = learner._references.score(batches, 1.0)
    assert start is not None and base is not None
    for found, expected in ((start, first), (base, other)):
        got = [x for batch, scores in zip(batches, found, strict=True) for x in scores[batch.response_mask].tolist()]
        assert sorted(got) == pytest.approx(sorted(x for row in expected for x in row), abs=1e-6)
    assert learner.score(sequences) == trained != first
    assert build()._references.host_nbytes == 0


def test_a_checkpoint_holds_adapters_alone_and_goes_on_bit_for_bit(build: Build, tmp_path: Path) -> None:
    learner = build()
    learner.train_step(rollouts(1, VOCABULARY))
    learner.save(tmp_path, 1)
    learner.train_step(rollouts(2, VOCABULARY))
    states = {name.removeprefix("optimizer.state.").partition(".")[0] for name in tensor_names(tmp_path)}
    assert all(".lora." in name for name in tensor_names(tmp_path)) and "exp_avg_sq" in states
    resumed = build()
    assert resumed.load(tmp_path) == 1
    resumed.train_step(rollouts(2, VOCABULARY))
    expected = weights_of(learner)
    assert all(torch.equal(weight, expected[name]) for name, weight in weights_of(resumed).items())
    for other, says in (
        (build(settings=WHOLE), r"checkpoint of adapters; set learner\.lora"),
        (build("other"), "base is '"),
        (build(settings=replace(LEARNER, lora=LoraConfig(rank=4, alpha=8))), r"alpha is 32\.0 there, 8 here"),
    ):
        with pytest.raises(UserError, match=says):
            other.load(tmp_path)


def test_a_checkpoint_of_all_weights_is_none_of_adapters(build: Build, tmp_path: Path) -> None:
    whole = build(settings=WHOLE)
    whole.train_step(rollouts(1, VOCABULARY)[:3])
    whole.save(tmp_path, 1)
    with pytest.raises(UserError, match=r"checkpoint of all weights; set learner\.lora"):
        build().load(tmp_path)


def test_mixtures_of_experts_are_refused_by_key(build: Build) -> None:
    with pytest.raises(UserError, match=r"^learner\.lora\.rank: "):
        build("experts")


@pytest.fixture(scope="module")
def outcomes(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    folder = tmp_path_factory.mktemp("layouts")
    (folder / "checkpoint").mkdir()
    settings: dict[str, Any] = {"grpo": GRPO, "optimizer": OPTIMIZER, "lora": {"rank": 4}, "last": 2}
    more: dict[str, dict[str, Any]] = {
        "single": {"last": 3},
        "tp2-pp2-sequence-parallel": {"save": str(folder / "checkpoint")},
        "dp2-from-tp2-pp2": {"load": str(folder / "checkpoint"), "first": 3, "last": 3},
    }
    cases = [
        TrainingCase(name, str(folders["tied"]), **layout, **{**settings, "bucket_bytes": 8000, **more.get(name, {})})
        for name, layout in {"single": {}, **LAYOUTS}.items()
    ]
    return run_cases(cases, folder)


@pytest.mark.gloo
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_trains_the_adapters_of_one_process(layout: str, outcomes: dict[str, Outcome]) -> None:
    expected, found = outcomes["single"].metrics, outcomes[layout].metrics
    assert outcomes[layout].error is None
    steps = expected[2:] if layout == "dp2-from-tp2-pp2" else expected[:2]
    for ours, theirs in zip(found, steps, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5, rel=1e-5)
    if layout == "dp2-from-tp2-pp2":
        for name, weight in outcomes["single"].weights.items():
            torch.testing.assert_close(outcomes[layout].weights[name], weight, rtol=1e-5, atol=1e-5)
