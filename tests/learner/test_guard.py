"""An update that must not be applied: nothing changes, and the report names where it went wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rzero_mega.config import load_config
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, GuardConfig, LearnerConfig, OptimizerConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.batch import TrainingSequence
from rzero_mega.learner.guard import FailedUpdate
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.megatron.policy_model import bare
from rzero_mega.learner.update_batch import UpdateBatch, read_batch
from tests.learner.ranks import rollouts

VOCABULARY = 61
GRPO = GrpoConfig(sequences_per_update=3, kl_coefficient=0.05, kl_base_coefficient=0.02)


@pytest.fixture(scope="module")
def models(tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guard")
    tiny_model("qwen3", vocab_size=VOCABULARY).save_pretrained(folder / "plain")
    tiny_model("qwen3", vocab_size=VOCABULARY, tie_word_embeddings=True).save_pretrained(folder / "tied")
    return folder


Build = Callable[..., Learner]


@pytest.fixture
def build(alone: ParallelLayout, models: Path) -> Build:
    def make(model: str = "plain", dtype: str = "float32", recompute: str = "none", **guard: Any) -> Learner:
        settings = LearnerConfig(
            dtype=dtype, tokens_per_micro_batch=64, recompute=recompute, guard=GuardConfig(**guard)
        )
        learner = Learner(models / model, alone, settings, GRPO, OptimizerConfig(learning_rate=1e-2), 30)
        learner.train_step(rollouts(1, VOCABULARY), lambda failed: None)
        return learner

    return make


def module(learner: Learner, name: str) -> torch.nn.Module:
    found: torch.nn.Module = dict(bare(learner._model.chunks[0]).named_modules())[name]
    return found


def spoil(learner: Learner, name: str, value: float) -> None:
    learner._model.parameters[name].data.view(-1)[5] = value


def failures(learner: Learner, sequences: list[TrainingSequence]) -> list[FailedUpdate]:
    """All updates of a step that the learner does not apply."""
    found: list[FailedUpdate] = []
    learner.train_step(sequences, found.append)
    return found


def with_number(sequences: list[TrainingSequence], index: int, logprob: float) -> list[TrainingSequence]:
    """The sequences, one of them with another log-probability of its first token."""
    spoilt = replace(sequences[index], rollout_logprobs=(logprob, *sequences[index].rollout_logprobs[1:]))
    return [*sequences[:index], spoilt, *sequences[index + 1 :]]


def state(learner: Learner) -> Iterator[tuple[str, Tensor]]:
    """Weights, main weights, moments and step counters."""
    yield from ((name, weight.clone()) for name, weight in learner._model.local_weights().items())
    for number, group in enumerate(learner._optimizer.param_groups):
        yield f"{number}.step", torch.tensor(group.get("step", 0))
        for index, parameter in enumerate(group["params"]):
            yield f"{number}.{index}", parameter.detach().clone()
    for number, values in enumerate(learner._optimizer.chained_optimizers[0].optimizer.state.values()):
        yield from ((f"{number}.{name}", value.clone()) for name, value in values.items())


def assert_same(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor.nan_to_num(7.0), after[name].nan_to_num(7.0)), name


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "name",
    [
        "decoder.layers.0.self_attention.linear_qkv.weight",
        "decoder.layers.1.self_attention.q_layernorm.weight",
        "decoder.layers.1.pre_mlp_layernorm.weight",
        "decoder.layers.1.mlp.linear_fc2.weight",
        "decoder.final_layernorm.weight",
        "output_layer.weight",
    ],
)
def test_a_weight_that_is_not_finite_is_named_with_its_module(build: Build, name: str, value: float) -> None:
    learner = build()
    spoil(learner, name, value)
    first, *_ = failures(learner, rollouts(2, VOCABULARY))
    where, _, weight = name.rpartition(".")
    assert f"first in {where} (forward, micro-batch 0," in first.origin
    assert f"its weights are not finite: {weight}" in first.origin
    assert first.check.fault is not None and "gradient norm is nan" in first.check.fault


def test_a_tied_embedding_is_named_where_it_is_met_first(build: Build) -> None:
    learner = build("tied")
    sequences = rollouts(2, VOCABULARY)
    tokens = {token for s in sequences[:3] for token in (*s.prompt, *s.response)}
    unseen = next(token for token in range(VOCABULARY) if token not in tokens)
    learner._model.parameters["embedding.word_embeddings.weight"].data[unseen] = math.nan
    first, *_ = failures(learner, sequences)
    assert "first in output_layer (forward" in first.origin
    assert "its weights are not finite: weight" in first.origin


def test_an_overflow_between_two_modules_is_named_with_the_module_that_computes_there(build: Build) -> None:
    learner = build(dtype="bfloat16")
    learner._model.parameters["decoder.layers.1.mlp.linear_fc1.weight"].data.mul_(1e25)
    first, *_ = failures(learner, rollouts(2, VOCABULARY))
    assert "first in decoder.layers.1.mlp (forward" in first.origin
    assert "makes of it before decoder.layers.1.mlp.linear_fc2" in first.origin
    assert "its weights" not in first.origin


@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize(
    "name",
    ["decoder.layers.0.input_layernorm", "decoder.layers.1.self_attention.core_attention", "decoder.final_layernorm"],
)
def test_a_gradient_that_is_not_finite_is_named_with_the_module_it_comes_out_of(
    build: Build, name: str, recompute: str
) -> None:
    learner = build(recompute=recompute)

    def not_finite(_module: Any, inputs: Any, _outputs: Any) -> Any:
        return tuple(g if g is None else g * math.nan for g in inputs)

    hook = module(learner, name).register_full_backward_hook(not_finite)
    first, *_ = failures(learner, rollouts(2, VOCABULARY))
    assert first.check.fault == "gradient norm is nan"
    assert f"first in {name} (backward, micro-batch 0" in first.origin
    assert "the gradient of its input" in first.origin
    hook.remove()
    assert learner.replay(first.batch).whole.fault is None


def test_a_weight_gradient_alone_is_named_too(build: Build) -> None:
    learner = build()
    weight = learner._model.parameters["decoder.layers.1.mlp.linear_fc1.weight"]
    weight.register_hook(lambda gradient: gradient * math.inf)
    first, *_ = failures(learner, rollouts(2, VOCABULARY))
    assert "first in decoder.layers.1.mlp.linear_fc1 (backward" in first.origin
    assert "the gradient of its weight" in first.origin


def test_weight_gradients_that_layers_add_up_themselves_are_looked_at_apart(build: Build) -> None:
    learner, seen = build(), list[bool]()
    layer: Any = module(learner, "decoder.layers.1.mlp.linear_fc1")
    layer.fuse_wgrad_accumulation = True  # as Transformer Engine's layers have it; this one doesn't look
    layer.register_forward_hook(lambda *_: seen.append(layer.fuse_wgrad_accumulation))
    spoil(learner, "decoder.layers.1.mlp.linear_fc1.weight", math.nan)
    found = failures(learner, rollouts(2, VOCABULARY)[:3])
    assert len(found) == 1 and seen[0] and not seen[-1] and layer.fuse_wgrad_accumulation


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_rollout_logprob_that_is_not_finite_is_the_loss_s_input(build: Build, value: float) -> None:
    """At -inf the truncated importance weight keeps loss and gradient finite; the difference gives it away."""
    sequences = with_number(rollouts(2, VOCABULARY), 7, value)
    (failed,) = failures(build(), sequences)
    assert failed.number == 3
    assert failed.origin == f"first in loss: rollout_logprob 0 of sequence 1 is {value}"


@pytest.mark.parametrize(
    ("advantage", "fault", "origin"),
    [
        (3e38, "loss is nan", "first in loss: it is nan, and all that it takes is finite"),
        (1e30, "gradient norm is inf", "every activation and gradient of single micro-batches is finite"),
    ],
)
def test_an_overflow_of_the_loss_or_of_the_norm_is_no_module_s(
    build: Build, advantage: float, fault: str, origin: str
) -> None:
    """Infinities of both signs add up to NaN; gradients of 1e30 are finite and their squares are not."""
    large = [replace(s, advantage=math.copysign(advantage, s.advantage)) for s in rollouts(2, VOCABULARY)]
    first, *_ = failures(build(), large)
    assert first.check.fault is not None and first.check.fault.startswith(fault)
    assert first.origin == origin


def test_a_skipped_update_leaves_weights_and_moments_as_they_are_to_the_bit(build: Build) -> None:
    learner = build()
    sequences = rollouts(2, VOCABULARY)
    for index in (0, 3, 6):
        sequences = with_number(sequences, index, math.nan)
    before = dict(state(learner))
    metrics = learner.train_step(sequences, lambda failed: None)
    assert_same(before, dict(state(learner)))
    assert (metrics.updates, metrics.skipped_updates, metrics.tokens, metrics.loss) == (0, 3, 0, 0.0)


def test_a_step_with_a_skipped_update_equals_one_without_its_sequences(build: Build) -> None:
    """One update is taken from the middle; old log-probabilities are those of the step's beginning in both."""
    learner, other = build(), build()
    sequences = rollouts(2, VOCABULARY)
    metrics = learner.train_step(with_number(sequences, 4, math.nan), lambda failed: None)
    expected = other.train_step([*sequences[:3], *sequences[6:]])
    assert_same(dict(state(other)), dict(state(learner)))
    assert metrics == replace(expected, skipped_updates=1)
    assert all(math.isfinite(value) for value in vars(metrics).values())


def test_without_anyone_to_decide_training_ends_and_nothing_has_changed(build: Build) -> None:
    learner = build()
    before = dict(state(learner))
    with pytest.raises(UserError, match=r"training diverged: update 1: loss is nan.*first in loss"):
        learner.train_step(with_number(rollouts(2, VOCABULARY), 0, math.nan))
    assert_same(before, dict(state(learner)))


def test_maxima_stop_what_is_finite(build: Build) -> None:
    sequences = rollouts(2, VOCABULARY)
    usual = build().train_step(sequences)
    first, *_ = failures(build(maximum_gradient_norm=usual.grad_norm / 100), sequences)
    assert "is above learner.guard.maximum_gradient_norm" in str(first)
    first, *_ = failures(build(maximum_logprob_difference=usual.logprob_difference / 100), sequences)
    assert "is above learner.guard.maximum_logprob_difference" in str(first)
    for key, value in (
        ("maximum_token_difference", usual.logprob_difference_max),
        ("maximum_rollout_kl", usual.rollout_kl),
        ("maximum_importance_outside", usual.importance_outside),
    ):
        assert value > 0
        first, *_ = failures(build(**{key: value / 100}), sequences)
        assert f"is above learner.guard.{key} {value / 100:g}" in str(first)
    passing = {"maximum_gradient_norm": 1e6, "maximum_logprob_difference": 1e6, "maximum_importance_outside": 1.0}
    assert failures(build(**passing), sequences) == []


def test_the_metrics_hold_the_largest_difference_and_ratio_of_the_step(build: Build) -> None:
    learner = build()
    sequences = rollouts(2, VOCABULARY)
    present = learner.score(sequences)
    largest = max(
        abs(mine - theirs)
        for scores, sequence in zip(present, sequences, strict=True)
        for mine, theirs in zip(scores, sequence.rollout_logprobs, strict=True)
    )
    metrics = learner.train_step(sequences)
    assert metrics.logprob_difference_max == pytest.approx(largest, abs=1e-6)
    assert metrics.ratio_max > metrics.ratio > 0
    assert 0 < metrics.importance_outside < 1 and metrics.rollout_kl > 0


def test_a_saved_batch_comes_back_to_the_bit_and_replays_the_same(build: Build, tmp_path: Path) -> None:
    learner = build(maximum_gradient_norm=1e-6)
    second = failures(learner, rollouts(2, VOCABULARY))[1]
    assert second.batch.old_logprobs is not None and second.batch.reference_logprobs is not None
    assert second.batch.base_logprobs == second.batch.reference_logprobs
    second.batch.write(tmp_path)
    batch = read_batch(tmp_path, VOCABULARY)
    assert batch == second.batch
    before = dict(state(learner))
    replayed = learner.replay(batch)
    assert replayed.whole == second.check
    assert len(replayed.parts) > 1
    assert sum(part.loss for part in replayed.parts) == pytest.approx(second.check.loss, abs=1e-6)
    assert_same(before, dict(state(learner)))


def test_a_batch_that_was_tampered_with_is_refused_by_name(tmp_path: Path) -> None:
    sequences = tuple(rollouts(1, VOCABULARY)[:2])
    UpdateBatch(sequences, None, None).write(tmp_path)
    file = tmp_path / "batch.safetensors"
    good = load_file(file)
    for name, bad, words in (
        ("token", good["token"] + VOCABULARY, "tokens outside of the model's 61"),
        ("token", good["token"][1:], "for sequences of"),
        ("prompt_length", torch.tensor([2**62, 2**62]), "lengths of sequences"),
        ("prompt_length", good["prompt_length"][:1], "not as many"),
        ("rollout_logprob", good["rollout_logprob"].float(), "has dtype"),
        ("rollout_logprob", good["rollout_logprob"][1:], "response tokens"),
        ("more", good["token"].clone(), "more is unknown"),
    ):
        save_file({**good, name: bad}, file)
        with pytest.raises(UserError, match=words):
            read_batch(tmp_path, VOCABULARY)
    file.write_bytes(b"no")
    with pytest.raises(UserError, match="not readable"):
        read_batch(tmp_path, VOCABULARY)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("learner.guard.non_finite=ignore", "learner.guard.non_finite: 'ignore' is not one of stop, skip"),
        ("learner.guard.maximum_skips=0", "learner.guard.maximum_skips"),
        ("learner.guard.maximum_gradient_norm=-1", "learner.guard.maximum_gradient_norm"),
        ("learner.guard.maximum_logprob_difference=nan", "learner.guard.maximum_logprob_difference"),
    ],
)
def test_impossible_guards_are_named(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_config(overrides=[override])
