"""What every rollout engine does. A subclass of `RolloutContract` provides `engine_for`, and pytest runs the rest."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import FinishReason, Request, RolloutEngine, Sample, Scored
from rzero_mega.weights.sources import GatheredWeights, WeightSource
from tests.hf_tensors import own_tensors

CONTEXT = 48
STOP_TOKENS = (1, 2)
VOCABULARY = 61

EngineFor = Callable[[Path], RolloutEngine]
ModelFolder = Callable[..., Path]


def prompt(length: int, seed: int) -> tuple[int, ...]:
    """Tokens that are no stop tokens."""
    return tuple(random.Random(seed).choices(range(3, VOCABULARY), k=length))


def mixed_requests(sampling: SamplingConfig) -> list[Request]:
    """Prompts of many lengths and numbers of samples; the first and the last are the same text."""
    shapes = [(7, 3), (20, 1), (1, 4), (13, 5), (7, 2)]
    requests = [Request(f"r{i}", prompt(length, length), n, sampling) for i, (length, n) in enumerate(shapes)]
    assert requests[0].prompt_tokens == requests[-1].prompt_tokens
    return requests


@cache
def reference_model(folder: Path) -> Any:
    """The folder's model in transformers, float32, with plain attention."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def reference_logits(folder: Path, sample: Sample) -> torch.Tensor:
    """Logits [s, v] before every token of the sample, by one plain forward pass of transformers."""
    model = reference_model(folder)
    with torch.no_grad():
        logits = model(torch.tensor([[*sample.prompt_tokens, *sample.tokens]]), use_cache=False).logits[0]
    return logits[len(sample.prompt_tokens) - 1 : -1]


def largest_logprob_error(folder: Path, samples: Sequence[Sample], temperature: float = 1.0) -> float:
    """How far the samples' log-probabilities are from those of a plain forward pass."""
    errors = []
    for sample in samples:
        logits = reference_logits(folder, sample) / temperature
        expected = logits.log_softmax(-1).gather(1, torch.tensor(sample.tokens)[:, None])[:, 0]
        errors.append((torch.tensor(sample.logprobs) - expected).abs().max().item())
    return max(errors)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by their Hugging Face names."""
    return own_tensors(reference_model(folder))


def source_of(weights: dict[str, torch.Tensor]) -> WeightSource:
    """The weights as a learner gives them, in several buckets."""
    return GatheredWeights(lambda: iter(weights.items()), bucket_bytes=20_000)


class RolloutContract:
    """The tests. `tolerance` is that of float32 log-probabilities.

    After an update that failed an engine keeps the old weights, or serves nothing until an update succeeds.
    """

    tolerance = 1e-5
    keeps_old_weights = True
    model = "qwen3"

    @pytest.fixture
    def engine_for(self) -> EngineFor:
        """Start an engine on a folder."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self, model_folder: ModelFolder) -> Path:
        return model_folder(self.model)

    def test_samples_come_request_by_request_and_then_by_index(self, engine_for: EngineFor, folder: Path) -> None:
        requests = mixed_requests(SamplingConfig(max_new_tokens=6))
        samples = engine_for(folder).generate(requests)
        expected = [(r.key, i, r.prompt_tokens) for r in requests for i in range(r.n)]
        assert [(s.key, s.index, s.prompt_tokens) for s in samples] == expected

    def test_a_request_may_begin_at_a_later_index(self, engine_for: EngineFor, folder: Path) -> None:
        request = Request("a", prompt(5, 0), 2, SamplingConfig(max_new_tokens=2), first_index=3)
        assert [s.index for s in engine_for(folder).generate([request])] == [3, 4]

    def test_no_requests_give_no_samples(self, engine_for: EngineFor, folder: Path) -> None:
        assert engine_for(folder).generate([]) == []

    @pytest.mark.parametrize(
        "filters", [{}, {"temperature": 0.5, "top_k": 5}, {"temperature": 1.5, "top_p": 0.6}, {"temperature": 0.7}]
    )
    def test_logprobs_are_those_at_the_request_s_temperature_before_any_filter(
        self, engine_for: EngineFor, folder: Path, filters: dict[str, Any]
    ) -> None:
        samples = engine_for(folder).generate(mixed_requests(SamplingConfig(max_new_tokens=12, **filters)))
        assert largest_logprob_error(folder, samples, filters.get("temperature", 1.0)) <= self.tolerance

    def test_top_k_draws_none_but_the_likeliest_tokens(self, engine_for: EngineFor, folder: Path) -> None:
        for sample in engine_for(folder).generate(mixed_requests(SamplingConfig(top_k=3, max_new_tokens=8))):
            likeliest = reference_logits(folder, sample).topk(3).indices
            assert (likeliest == torch.tensor(sample.tokens)[:, None]).any(-1).all()

    def test_temperature_zero_takes_the_likeliest_token_every_time(self, engine_for: EngineFor, folder: Path) -> None:
        samples = engine_for(folder).generate(mixed_requests(SamplingConfig(temperature=0.0, max_new_tokens=8)))
        assert largest_logprob_error(folder, samples) <= self.tolerance
        for sample in samples:
            assert sample.tokens.tolist() == reference_logits(folder, sample).argmax(-1).tolist()

    def test_a_sample_stops_at_a_stop_token_or_is_marked_as_cut(self, engine_for: EngineFor, folder: Path) -> None:
        samples = engine_for(folder).generate([Request("a", prompt(4, 1), 60, SamplingConfig(max_new_tokens=20))])
        assert {s.finish for s in samples} == {FinishReason.STOP, FinishReason.LENGTH}
        for sample in samples:
            assert not set(sample.tokens[:-1]) & set(STOP_TOKENS)
            assert (sample.finish is FinishReason.STOP) == (sample.tokens[-1] in STOP_TOKENS)
            assert sample.finish is FinishReason.STOP or len(sample.tokens) == 20
            assert len(sample.logprobs) == len(sample.tokens)

    def test_the_context_cuts_a_sample(self, engine_for: EngineFor, folder: Path) -> None:
        samples = engine_for(folder).generate([Request("a", prompt(CONTEXT - 3, 2), 30, SamplingConfig())])
        assert {len(s.tokens) for s in samples if s.finish is FinishReason.LENGTH} == {3}
        assert largest_logprob_error(folder, samples) <= self.tolerance

    def test_a_prompt_that_fills_the_context_is_refused_with_both_lengths(
        self, engine_for: EngineFor, folder: Path
    ) -> None:
        with pytest.raises(UserError, match=rf"(?s){CONTEXT}.*{CONTEXT}"):
            engine_for(folder).generate([Request("a", prompt(CONTEXT, 0), 1, SamplingConfig())])

    def test_samplings_of_different_kinds_can_share_a_call(self, engine_for: EngineFor, folder: Path) -> None:
        short, long = SamplingConfig(max_new_tokens=2), SamplingConfig(temperature=0.0, max_new_tokens=9)
        requests = [Request(f"r{i}", prompt(5, i), 2, (short, long)[i % 2]) for i in range(4)]
        samples = engine_for(folder).generate(requests)
        assert [s.key for s in samples] == [r.key for r in requests for _ in range(2)]
        assert all(len(s.tokens) <= 2 for s in samples if s.key in ("r0", "r2"))
        assert samples[2].tokens == samples[3].tokens

    def test_scores_are_the_logprobs_at_temperature_one_of_what_is_given(
        self, engine_for: EngineFor, folder: Path
    ) -> None:
        samples = engine_for(folder).generate(mixed_requests(SamplingConfig(max_new_tokens=9)))
        scores = engine_for(folder).score([Scored(s.prompt_tokens, s.tokens) for s in samples])
        for sample, score in zip(samples, scores, strict=True):
            assert score == pytest.approx(sample.logprobs, abs=self.tolerance)

    def test_an_update_can_be_followed_by_another(
        self, engine_for: EngineFor, folder: Path, model_folder: ModelFolder
    ) -> None:
        engine, other = engine_for(folder), model_folder(self.model, seed=1)
        engine.update_weights(source_of(weights_of(other)), version=1)
        engine.update_weights(source_of(weights_of(folder)), version=2)
        after = engine.generate(mixed_requests(SamplingConfig(max_new_tokens=6)))
        assert {s.weight_version for s in after} == {2}
        assert largest_logprob_error(folder, after) <= self.tolerance

    def test_new_weights_speak_and_mark_the_samples(
        self, engine_for: EngineFor, folder: Path, model_folder: ModelFolder
    ) -> None:
        engine, other = engine_for(folder), model_folder(self.model, seed=1)
        requests = mixed_requests(SamplingConfig(max_new_tokens=6))
        before = engine.generate(requests)
        engine.update_weights(source_of(weights_of(other)), version=7)
        after = engine.generate(requests)
        assert {s.weight_version for s in before} == {0}
        assert {s.weight_version for s in after} == {7}
        assert largest_logprob_error(other, after) <= self.tolerance

    @pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
    def test_a_wrong_update_names_the_tensor_and_is_never_heard(
        self, engine_for: EngineFor, folder: Path, model_folder: ModelFolder, fault: str
    ) -> None:
        engine = engine_for(folder)
        weights = weights_of(model_folder(self.model, seed=1))
        name = next(name for name in weights if name.startswith("model.layers.1.") and name.endswith("up_proj.weight"))
        tensor = weights.pop(name)
        if fault == "unknown":
            weights |= {name: tensor, name.replace("layers.1", "layers.9"): tensor}
            name = name.replace("layers.1", "layers.9")
        elif fault == "shape":
            weights[name] = tensor[:-1]
        with pytest.raises(UserError, match=name):
            engine.update_weights(source_of(weights), version=1)
        if self.keeps_old_weights:
            samples = engine.generate(mixed_requests(SamplingConfig(max_new_tokens=6)))
            assert {s.weight_version for s in samples} == {0}
        else:
            with pytest.raises(UserError, match=name):
                engine.generate(mixed_requests(SamplingConfig(max_new_tokens=6)))
            engine.update_weights(source_of(weights_of(folder)), version=2)
            samples = engine.generate(mixed_requests(SamplingConfig(max_new_tokens=6)))
            assert {s.weight_version for s in samples} == {2}
        assert largest_logprob_error(folder, samples) <= self.tolerance


class ReproducibleContract(RolloutContract):
    """For engines that draw from the requests' own streams."""

    def test_the_same_requests_give_the_same_samples_bit_for_bit(self, engine_for: EngineFor, folder: Path) -> None:
        requests = mixed_requests(SamplingConfig(max_new_tokens=12, top_p=0.95))
        engine = engine_for(folder)
        first = engine.generate(requests)
        assert engine.generate(requests) == first
        assert engine_for(folder).generate(requests) == first

    def test_a_sample_does_not_depend_on_what_is_drawn_beside_it(self, engine_for: EngineFor, folder: Path) -> None:
        requests = mixed_requests(SamplingConfig(max_new_tokens=12))
        engine = engine_for(folder)
        together = {(s.key, s.index): s.tokens for s in engine.generate(requests)}
        for request in requests:
            last = Request(request.key, request.prompt_tokens, 1, request.sampling, first_index=request.n - 1)
            assert engine.generate([last])[0].tokens == together[request.key, request.n - 1]

    def test_samples_of_one_prompt_differ(self, engine_for: EngineFor, folder: Path) -> None:
        samples = engine_for(folder).generate([Request("a", prompt(5, 0), 8, SamplingConfig(max_new_tokens=12))])
        assert len({tuple(s.tokens) for s in samples}) == 8
