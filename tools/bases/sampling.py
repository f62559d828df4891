"""Texts that a model writes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3ForCausalLM


@torch.no_grad()
def complete(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    *,
    greedy: bool,
    max_new_tokens: int,
    batch: int = 500,
) -> list[str]:
    """Complete raw prompts at temperature 1 over the whole vocabulary, or greedily; text without special tokens."""
    texts: list[str] = []
    for start in range(0, len(prompts), batch):
        encoded = tokenizer(list(prompts[start : start + batch]), return_tensors="pt", padding=True)
        output = model.generate(  # type: ignore[misc]  # transformers types the method's self as a protocol
            input_ids=encoded["input_ids"],
            attention_mask=encoded["attention_mask"],
            generation_config=GenerationConfig(
                do_sample=not greedy,
                temperature=None if greedy else 1.0,
                top_k=None if greedy else 0,
                top_p=None if greedy else 1.0,
                max_new_tokens=max_new_tokens,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            ),
        )
        texts += tokenizer.batch_decode(output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts
