"""Pre-training of a base: batches of documents, the model, and the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from rzero_mega.assets import asset_path
from tools.bases.base import Base, Document, Settings
from tools.bases.tokenizer import MAX_POSITIONS

_IGNORED = -100
_BUCKET_BATCHES = 8


def model_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    """Return the shape of a base: 4 layers, h=128, 4 query heads on 2 key-value heads, d=32, tied embeddings."""
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        attention_bias=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def batches(base: Base[Any], tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``(inputs, targets)``, both int64 of shape [b, s], with documents of similar length together."""
    stream = base.documents()
    rng = Random(f"{base.name} base order {base.settings.seed}")
    size = base.settings.batch_documents
    while True:
        pool = [next(stream) for _ in range(size * _BUCKET_BATCHES)]
        pool.sort(key=lambda document: len(document.prompt) + len(document.completion))
        starts = list(range(0, len(pool), size))
        rng.shuffle(starts)
        for start in starts:
            yield _collate(pool[start : start + size], tokenizer)


def _collate(rows: Sequence[Document], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    prompts = tokenizer([row.prompt for row in rows])["input_ids"]
    completions = tokenizer([row.completion for row in rows])["input_ids"]
    longest = max(len(prompt) + len(completion) for prompt, completion in zip(prompts, completions, strict=True))
    inputs = torch.full((len(rows), longest), tokenizer.pad_token_id)
    targets = torch.full((len(rows), longest), _IGNORED)
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        end = len(prompt) + len(completion)
        inputs[index, :end] = torch.tensor(prompt + completion)
        targets[index, len(prompt) - 1 : end] = torch.tensor([*completion, tokenizer.eos_token_id])
    return inputs, targets


def learning_rate(step: int, settings: Settings) -> float:
    """Return the learning rate of a step: linear warm-up times a cosine from the peak to its final share."""
    warmup = min(1.0, (step + 1) / settings.warmup_steps)
    cosine = (1 + math.cos(math.pi * step / settings.steps)) / 2
    floor = settings.final_learning_rate_share
    return settings.learning_rate * warmup * (floor + (1 - floor) * cosine)


def train(
    base: Base[Any], tokenizer: PreTrainedTokenizerFast, on_step: Callable[[int, float], None]
) -> Qwen3ForCausalLM:
    """Pre-train a base on the CPU in fp32; ``on_step(step, loss)`` is called after each step."""
    settings = base.settings
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(settings.seed)
    model = _initial_model(settings, tokenizer)
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=(settings.beta1, settings.beta2), weight_decay=settings.weight_decay
    )
    stream = batches(base, tokenizer)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        inputs, targets = next(stream)
        logits = model(input_ids=inputs, use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=_IGNORED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        on_step(step, loss.item())
    model.eval()
    return model


def _initial_model(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    if settings.start is None:
        return Qwen3ForCausalLM(model_config(tokenizer))
    return Qwen3ForCausalLM.from_pretrained(asset_path(settings.start), dtype=torch.float32)
