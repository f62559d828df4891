"""The embedded engine: the contract for every family and batch size, and what it alone promises."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout import decoding, prefill
from rzero_mega.rollout.embedded import EmbeddedEngine
from rzero_mega.rollout.protocol import FinishReason, Request
from rzero_mega.weights.bucket import Bucket
from rzero_mega.weights.sources import GatheredWeights
from tests.rollout.contract import (
    STOP_TOKENS,
    EngineFor,
    ModelFolder,
    ReproducibleContract,
    largest_logprob_error,
    mixed_requests,
    prompt,
    source_of,
    weights_of,
)

SAMPLING = SamplingConfig(max_new_tokens=10)


class TestQwen3(ReproducibleContract):
    model = "qwen3"

    @pytest.fixture
    def engine_for(self) -> EngineFor:
        return lambda folder: EmbeddedEngine(folder, "float32", batch_sequences=64)


class TestFewSlots(TestQwen3):
    """So few slots that rows are moved and refilled while others go on."""

    @pytest.fixture
    def engine_for(self) -> EngineFor:
        return lambda folder: EmbeddedEngine(folder, "float32", batch_sequences=5)


class TestOneSlot(TestQwen3):
    @pytest.fixture
    def engine_for(self) -> EngineFor:
        return lambda folder: EmbeddedEngine(folder, "float32", batch_sequences=1)


class TestQwen3Tied(TestFewSlots):
    model = "qwen3-tied"


class TestQwen3Moe(TestFewSlots):
    model = "qwen3-moe"


class TestGlm4Moe(TestFewSlots):
    model = "glm4-moe"


class TestDeepseekV3(TestFewSlots):
    model = "deepseek-v3"


class TestQwen2Tied(TestFewSlots):
    model = "qwen2-tied"


class TestLlama(TestFewSlots):
    model = "llama"


def test_the_batch_size_changes_no_token(model_folder: ModelFolder) -> None:
    requests = mixed_requests(SAMPLING)
    drawn = [
        [sample.tokens for sample in EmbeddedEngine(model_folder("qwen3"), batch_sequences=size).generate(requests)]
        for size in (1, 4, 100)
    ]
    assert drawn[0] == drawn[1] == drawn[2]


def test_a_cache_that_has_to_grow_keeps_what_it_holds(
    model_folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rzero_mega.rollout.kv_cache.GROWTH", 3)
    folder = model_folder("qwen3")
    samples = EmbeddedEngine(folder, batch_sequences=4).generate(mixed_requests(SamplingConfig(max_new_tokens=25)))
    assert largest_logprob_error(folder, samples) <= 1e-5


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Lengths of the prompts of each pass."""
    lengths: list[list[int]] = []

    def recorded(trunk: torch.nn.Module, prompts: list[tuple[int, ...]], device: torch.device) -> Any:
        lengths.append([len(p) for p in prompts])
        return prefill.prefill(trunk, prompts, device)

    monkeypatch.setattr(decoding, "prefill", recorded)
    return lengths


def test_equal_prompts_are_read_once_and_passes_are_bounded(
    model_folder: ModelFolder, passes: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefill, "PREFILL_TOKENS", 30)
    folder = model_folder("qwen3")
    samples = EmbeddedEngine(folder).generate(mixed_requests(SAMPLING))
    assert passes == [[20], [13, 7], [1]]
    assert largest_logprob_error(folder, samples) <= 1e-5


@pytest.mark.parametrize("family", ["qwen3", "llama", "qwen3-moe"])
def test_what_all_prompts_begin_with_is_read_once(
    model_folder: ModelFolder, passes: list[list[int]], monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(prefill, "SHARED_TOKENS", 9)
    read: list[tuple[int, ...]] = []
    folder, beginning = model_folder(family), prompt(9, 0)
    # One prompt is the beginning and a single token, one has another prompt as its beginning.
    own = [prompt(1, 1), prompt(4, 2), (*prompt(4, 2), *prompt(3, 3))]
    engine = EmbeddedEngine(folder)
    engine._decoder._trunk.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    samples = engine.generate([Request(f"r{i}", (*beginning, *tokens), 2, SAMPLING) for i, tokens in enumerate(own)])
    assert passes == [[16, 13, 10]]
    assert read[:2] == [(1, 9), (3, 7)]
    assert largest_logprob_error(folder, samples) <= 1e-5


@pytest.mark.parametrize(
    ("prompts", "shared"),
    [
        ([(1, 2, 3, 4), (1, 2, 3, 5)], 3),
        ([(1, 2, 3, 4), (1, 2, 5, 4)], 0),  # too short to pay
        ([(1, 2, 3, 4), (1, 2, 3)], 0),  # every prompt keeps a token of its own
        ([(1, 2, 3, 4), (1, 2, 3, 4, 5)], 3),
        ([(9, 2, 3, 4), (9, 2, 3, 4, 1), (9, 2, 3, 1, 1)], 3),
        ([(1, 2, 3, 4, 5)], 0),  # nobody to share it with
    ],
)
def test_how_much_of_prompts_is_shared(
    prompts: list[tuple[int, ...]], shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefill, "SHARED_TOKENS", 3)
    assert prefill.shared_tokens(prompts) == shared


def test_bfloat16_is_close_to_float32(model_folder: ModelFolder) -> None:
    folder = model_folder("qwen3")
    samples = EmbeddedEngine(folder, "bfloat16", batch_sequences=5).generate(mixed_requests(SAMPLING))
    assert largest_logprob_error(folder, samples) < 0.1


def test_an_update_may_repeat_the_tied_embedding_but_not_contradict_it(model_folder: ModelFolder) -> None:
    engine = EmbeddedEngine(model_folder("qwen3-tied"))
    weights = weights_of(model_folder("qwen3-tied", seed=1))
    assert "lm_head.weight" not in weights
    embedding = weights["model.embed_tokens.weight"]
    with pytest.raises(UserError, match=r"lm_head\.weight"):
        engine.update_weights(source_of(weights | {"lm_head.weight": embedding + 1}), version=1)
    engine.update_weights(source_of({"lm_head.weight": embedding} | weights), version=2)
    samples = engine.generate(mixed_requests(SAMPLING))
    assert largest_logprob_error(model_folder("qwen3-tied", seed=1), samples) <= 1e-5


def test_an_update_may_reuse_one_buffer_for_all_buckets(model_folder: ModelFolder) -> None:
    weights = weights_of(model_folder("qwen3", seed=1))
    buffer = torch.empty(1 << 20, dtype=torch.uint8)

    class OneBuffer:
        def __iter__(self) -> Iterator[Bucket]:
            for bucket in source_of(weights):
                size = bucket.data.nbytes
                buffer[:size] = bucket.data
                yield Bucket(buffer[:size], bucket.slots)

    engine = EmbeddedEngine(model_folder("qwen3"))
    engine.update_weights(OneBuffer(), version=1)
    assert largest_logprob_error(model_folder("qwen3", seed=1), engine.generate(mixed_requests(SAMPLING))) <= 1e-5


def test_a_tensor_that_comes_twice_is_named(model_folder: ModelFolder) -> None:
    engine = EmbeddedEngine(model_folder("qwen3"))
    weights = list(weights_of(model_folder("qwen3")).items())
    twice = GatheredWeights(lambda: iter([*weights, weights[3]]), bucket_bytes=20_000)
    with pytest.raises(UserError, match=weights[3][0]):
        engine.update_weights(twice, version=1)


def test_weights_that_are_not_finite_are_reported_and_leave_nothing_behind(model_folder: ModelFolder) -> None:
    engine = EmbeddedEngine(model_folder("qwen3"))
    good = weights_of(model_folder("qwen3"))
    bad = good | {"model.layers.0.self_attn.v_proj.weight": good["model.layers.0.self_attn.v_proj.weight"] * torch.nan}
    before = engine.generate(mixed_requests(SAMPLING))
    engine.update_weights(source_of(bad), version=3)
    with pytest.raises(UserError, match="version 3"):
        engine.generate(mixed_requests(SAMPLING))
    engine.update_weights(source_of(good), version=0)
    assert engine.generate(mixed_requests(SAMPLING)) == before


def test_the_tokenizers_end_of_sequence_stops_too(model_folder: ModelFolder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("qwen3"), folder)
    request = Request("a", prompt(5, 3), 1, SamplingConfig(temperature=0.0, max_new_tokens=8))
    third = EmbeddedEngine(folder).generate([request])[0].tokens[2]
    assert third not in STOP_TOKENS
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(61)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=f"w{third}").save_pretrained(folder)
    sample = EmbeddedEngine(folder).generate([request])[0]
    assert sample.tokens[-1] == third
    assert sample.finish is FinishReason.STOP


@pytest.mark.parametrize("fault", ["no folder", "pickled", "broken"])
def test_a_folder_that_cannot_be_loaded_is_named(model_folder: ModelFolder, tmp_path: Path, fault: str) -> None:
    folder = tmp_path / "model"
    if fault != "no folder":
        shutil.copytree(model_folder("qwen3"), folder)
    if fault == "pickled":
        (folder / "model.safetensors").unlink()
        torch.save({}, folder / "pytorch_model.bin")
    elif fault == "broken":
        (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=str(folder)):
        EmbeddedEngine(folder)


def test_a_sliding_window_is_refused_rather_than_ignored(model_folder: ModelFolder, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("qwen3"), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": True, "sliding_window": 8}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="sliding"):
        EmbeddedEngine(folder)
