"""The Megatron model against transformers on the same weights, in float32."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import GrpoConfig, LearnerConfig, OptimizerConfig
from rzero_mega.learner.batch import LocalUpdate, MicroBatch, TrainingSequence, build_micro_batch
from rzero_mega.learner.export import model_groups
from rzero_mega.learner.forward_backward import accumulate_gradients, score
from rzero_mega.learner.learner import Learner
from rzero_mega.learner.megatron.compat import cuda_literals_mean_cpu
from rzero_mega.learner.megatron.context_parallel import TokenSplit
from rzero_mega.learner.megatron.model import Model, build_model, load_weights
from rzero_mega.learner.megatron.optimizer import build_optimizer
from rzero_mega.learner.megatron.policy_model import bare
from rzero_mega.weights.mapping import entries
from rzero_mega.weights.reshard.reference import gather_hf
from rzero_mega.weights.shape import read_shape
from tests.hf_tensors import own_tensors, split_experts

TOLERANCE = 1e-5
LEARNER = LearnerConfig(dtype="float32", tokens_per_micro_batch=256)
# No KL, no importance weights, no clipping at ratio 1: the gradient is that of -sum_t w_t A_t log p_t.
PLAIN = GrpoConfig(kl_coefficient=0.0, importance_cap=None)
# Wave lengths of 2,000 to 20,000 tokens, which Llama 3's scaling changes, turn visibly within 150 tokens.
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", {}),
    "qwen3-tied": ("qwen3", {"tie_word_embeddings": True}),
    "qwen3-without-gqa": ("qwen3", {"num_key_value_heads": 4}),
    "qwen3-one-kv-head": ("qwen3", {"num_key_value_heads": 1}),
    "qwen3-broken-rope-base": ("qwen3", {"rope_parameters": {"rope_type": "default", "rope_theta": 12.5}}),
    "qwen2": ("qwen2", {}),
    "qwen2-tied": ("qwen2", {"tie_word_embeddings": True, "rms_norm_eps": 1e-5}),
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "qwen3-moe": ("qwen3_moe", {}),
    "qwen3-moe-weights-of-all-experts": ("qwen3_moe", {"norm_topk_prob": False}),
    "glm4-moe": ("glm4_moe", {"num_hidden_layers": 3, "n_shared_experts": 2}),
    "glm4-moe-groups": (
        "glm4_moe",
        {
            "n_routed_experts": 8,
            "n_group": 4,
            "topk_group": 2,
            "num_experts_per_tok": 4,
            "first_k_dense_replace": 0,
            "use_qk_norm": False,
            "attention_bias": False,
        },
    ),
    "deepseek-v3": ("deepseek_v3", {}),
    "deepseek-v3-yarn": (
        "deepseek_v3",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "original_max_position_embeddings": 64,
                "beta_fast": 32,
                "beta_slow": 1,
                "mscale": 0.7,
                "mscale_all_dim": 0.7,
            },
        },
    ),
    "llama3-rope": ("llama", {"rope_parameters": LLAMA3, "max_position_embeddings": 16384}),
}


@dataclass(frozen=True)
class Pair:
    """One set of weights on both sides, and sequences for both."""

    folder: Path
    hf: Any
    megatron: Model
    sequences: list[TrainingSequence]
    micro_batches: list[MicroBatch]
    weights: list[float]


@pytest.fixture(scope="module", params=CASES)
def pair(
    request: pytest.FixtureRequest,
    alone: ParallelLayout,
    tiny_model: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    family, keys = CASES[request.param]
    hf = tiny_model(family, **keys)
    folder = tmp_path_factory.mktemp(request.param)
    hf.save_pretrained(folder)
    model = build_model(read_shape(folder), alone, LEARNER)
    load_weights(model, folder)
    build_optimizer(model, OptimizerConfig())  # gives the model its main gradients' scale
    sequences = some_sequences(hf.config.vocab_size)
    weights = [0.3, 0.05, 0.7, 0.11]
    cpu = torch.device("cpu")
    micro_batches = [build_micro_batch(sequences, weights, indices, TokenSplit(), cpu) for indices in ([0, 1, 2], [3])]
    yield Pair(folder, hf, model, sequences, micro_batches, weights)


def some_sequences(vocabulary: int) -> list[TrainingSequence]:
    """Four sequences of unequal lengths, one longer than 150 tokens, one with a single response token."""
    draw = random.Random(1)
    sequences = []
    for prompt, response, advantage in ((5, 17, 1.5), (1, 30, -0.7), (12, 1, 0.4), (60, 110, -1.1)):
        tokens = [draw.randrange(vocabulary) for _ in range(prompt + response)]
        logprobs = tuple(-draw.random() for _ in range(response))
        sequences.append(TrainingSequence(tuple(tokens[:prompt]), tuple(tokens[prompt:]), logprobs, advantage))
    return sequences


def hf_logits(hf: Any, sequence: TrainingSequence) -> Tensor:
    """[s, v]"""
    return hf(torch.tensor([[*sequence.prompt, *sequence.response]])).logits[0]


def spans(micro_batch: MicroBatch) -> list[tuple[int, slice]]:
    bounds = micro_batch.packed_seq_params.cu_seqlens_q.tolist()
    return [(index, slice(a, b)) for index, a, b in zip(micro_batch.indices, bounds, bounds[1:], strict=False)]


def megatron_logits(model: Model, micro_batch: MicroBatch) -> Tensor:
    """[t, v]"""
    with torch.no_grad(), cuda_literals_mean_cpu():
        hidden = model.chunks[0](
            micro_batch.tokens, micro_batch.position_ids, None, packed_seq_params=micro_batch.packed_seq_params
        )
    return hidden @ bare(model.chunks[0]).output_weight[: model.shape.vocab].T


def test_logits_equal_those_of_transformers(pair: Pair) -> None:
    for micro_batch in pair.micro_batches:
        ours = megatron_logits(pair.megatron, micro_batch)
        for index, span in spans(micro_batch):
            with torch.no_grad():
                theirs = hf_logits(pair.hf, pair.sequences[index])
            assert theirs.std() > 0.5  # weights that say nothing would agree about everything
            torch.testing.assert_close(ours[span], theirs, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_of_response_tokens_equal_those_of_transformers(pair: Pair, temperature: float) -> None:
    scores = score(pair.megatron, pair.micro_batches, temperature)
    assert scores is not None
    for micro_batch, ours in zip(pair.micro_batches, scores, strict=True):
        for index, span in spans(micro_batch):
            sequence = pair.sequences[index]
            with torch.no_grad():
                theirs = hf_token_logprobs(pair.hf, sequence, temperature)
            before = len(sequence.prompt) - 1
            torch.testing.assert_close(ours[span][before:-1], theirs[before:], atol=TOLERANCE, rtol=0)
            assert not ours[span][:before].any()


def hf_token_logprobs(hf: Any, sequence: TrainingSequence, temperature: float = 1.0) -> Tensor:
    """Log-probability of every token but the first at the temperature, [s - 1]."""
    tokens = torch.tensor([*sequence.prompt, *sequence.response])
    return (hf_logits(hf, sequence) / temperature).log_softmax(-1)[:-1].gather(1, tokens[1:, None])[:, 0]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_gradients_equal_those_of_autograd_through_transformers(pair: Pair, temperature: float) -> None:
    accumulate_gradients(pair.megatron, LocalUpdate(pair.micro_batches, temperature=temperature), PLAIN)
    main = main_gradients(pair.megatron)
    shape = pair.megatron.shape
    trained = [entry for entry in entries(shape) if entry.megatron in main]
    ours = dict(gather_hf(trained, main, shape, model_groups()))
    theirs = hf_gradients(pair, temperature)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        largest = gradient.abs().max()
        assert largest > 1e-4, name
        assert (ours[name] - gradient).abs().max() <= TOLERANCE * largest, name


def main_gradients(model: Model) -> dict[str, Tensor]:
    parameters: dict[str, Any] = model.parameters  # Megatron gives them an attribute
    return {name: parameter.main_grad for name, parameter in parameters.items()}


def hf_gradients(pair: Pair, temperature: float) -> dict[str, Tensor]:
    pair.hf.zero_grad()
    loss = torch.zeros([])
    for sequence, weight in zip(pair.sequences, pair.weights, strict=True):
        response = hf_token_logprobs(pair.hf, sequence, temperature)[len(sequence.prompt) - 1 :]
        loss = loss - weight * sequence.advantage * response.sum()
    loss.backward()
    return split_experts({name: parameter.grad for name, parameter in pair.hf.named_parameters()})


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_changes_no_gradient(
    recompute: str, tiny_model: Callable[..., Any], alone: ParallelLayout, tmp_path: Path
) -> None:
    tiny_model("qwen3").save_pretrained(tmp_path)
    sequences = some_sequences(61)
    micro_batches = [
        build_micro_batch(sequences, [0.3, 0.05, 0.7, 0.11], [0, 1, 2, 3], TokenSplit(), torch.device("cpu"))
    ]
    gradients = []
    for how in ("none", recompute):
        settings = LearnerConfig(dtype="float32", tokens_per_micro_batch=256, recompute=how)
        model = build_model(read_shape(tmp_path), alone, settings)
        load_weights(model, tmp_path)
        build_optimizer(model, OptimizerConfig())
        accumulate_gradients(model, LocalUpdate(micro_batches), PLAIN)
        gradients.append(main_gradients(model))
    assert all(torch.equal(tensor, gradients[1][name]) for name, tensor in gradients[0].items())


def test_bfloat16_scores_stay_near_those_in_float32(
    tiny_model: Callable[..., Any], alone: ParallelLayout, tmp_path: Path
) -> None:
    hf = tiny_model("qwen3")
    hf.save_pretrained(tmp_path)
    sequences = some_sequences(61)
    settings = LearnerConfig(dtype="bfloat16", tokens_per_micro_batch=256)
    learner = Learner(tmp_path, alone, settings, PLAIN, OptimizerConfig(learning_rate=1e-3), longest_response=110)
    for sequence, ours in zip(sequences, learner.score(sequences), strict=True):
        with torch.no_grad():
            theirs = hf_token_logprobs(hf, sequence)[len(sequence.prompt) - 1 :]
        assert (torch.tensor(ours) - theirs).abs().max() < 0.1
    before = {name: tensor.clone() for name, tensor in learner.export()}
    learner.train_step(sequences)
    changed = [not torch.equal(tensor, before[name]) for name, tensor in learner.export()]
    assert sum(changed) > len(changed) / 2


def test_the_learner_scores_response_tokens_and_exports_what_it_read(pair: Pair, alone: ParallelLayout) -> None:
    learner = Learner(pair.folder, alone, LEARNER, PLAIN, OptimizerConfig(), longest_response=110)
    for sequence, ours in zip(pair.sequences, learner.score(pair.sequences), strict=True):
        with torch.no_grad():
            theirs = hf_token_logprobs(pair.hf, sequence)[len(sequence.prompt) - 1 :]
        torch.testing.assert_close(torch.tensor(ours), theirs, atol=TOLERANCE, rtol=0)
    expected = own_tensors(pair.hf)
    exported = dict(learner.export())
    assert exported.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in exported.items())


def test_llama3_rope_scaling_is_visible_in_these_sequences(tiny_model: Callable[..., Any]) -> None:
    sequence = some_sequences(61)[3]
    scaled = tiny_model("llama", rope_parameters=LLAMA3, max_position_embeddings=16384)
    plain = tiny_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    with torch.no_grad():
        difference = (hf_logits(scaled, sequence) - hf_logits(plain, sequence)).abs().max()
    assert difference > 1000 * TOLERANCE


def test_policy_old_policy_and_reference_are_taken_at_the_temperature_of_the_rollouts(
    tiny_model: Callable[..., Any], alone: ParallelLayout, tmp_path: Path
) -> None:
    """Of weights that stay as they are: nothing differs from the rollouts, from before the step, or from the start."""
    hf, temperature = tiny_model("qwen3"), 0.7
    hf.save_pretrained(tmp_path)
    drawn = []
    for sequence in some_sequences(61):
        with torch.no_grad():
            logprobs = hf_token_logprobs(hf, sequence, temperature)[len(sequence.prompt) - 1 :]
        drawn.append(replace(sequence, rollout_logprobs=tuple(logprobs.tolist())))
    grpo = GrpoConfig(sequences_per_update=2, kl_coefficient=0.1)
    still = OptimizerConfig(learning_rate=0.0)
    for taken_at, expected in ((temperature, 0.0), (1.0, None)):
        metrics = Learner(tmp_path, alone, LEARNER, grpo, still, 110, taken_at).train_step(drawn)
        assert metrics.updates == 2
        assert (metrics.ratio_max, metrics.kl) == pytest.approx((1.0, 0.0), abs=TOLERANCE)
        if expected is None:
            assert metrics.logprob_difference > 0.01
        else:
            assert metrics.logprob_difference_max <= TOLERANCE
