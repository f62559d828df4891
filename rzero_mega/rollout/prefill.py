"""Reading prompts: each distinct one once, and what a pass's prompts all begin with once for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

# Padded prompt tokens read in one forward pass; bounds the activations.
PREFILL_TOKENS = 8192
# A shorter common beginning is read with every prompt: a pass of its own would cost more than it saves.
SHARED_TOKENS = 64


@dataclass(frozen=True)
class PrefillChunk:
    """One forward pass: distinct prompts, and which of them each of the next rows has."""

    prompts: list[tuple[int, ...]]
    prompt_of_row: list[int]

    def takes(self, prompt: tuple[int, ...]) -> bool:
        """Whether a row with `prompt` still fits. The first prompt is the longest."""
        return prompt == self.prompts[-1] or (len(self.prompts) + 1) * len(self.prompts[0]) <= PREFILL_TOKENS


def prefill_chunks(prompts: Sequence[tuple[int, ...]]) -> list[PrefillChunk]:
    """Cut the prompts of consecutive rows, longest first and equal ones together, into forward passes."""
    chunks: list[PrefillChunk] = []
    for prompt in prompts:
        if not chunks or not chunks[-1].takes(prompt):
            chunks.append(PrefillChunk([], []))
        chunk = chunks[-1]
        if not chunk.prompts or prompt != chunk.prompts[-1]:
            chunk.prompts.append(prompt)
        chunk.prompt_of_row.append(len(chunk.prompts) - 1)
    return chunks


def shared_tokens(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many first tokens all prompts have in common and may be read once: 0 where that would not pay.

    Every prompt keeps a token of its own, whose logits are wanted.
    """
    # Whatever lies between two tuples in order begins as both do.
    first, last = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    common = next((i for i in range(most) if first[i] != last[i]), most)
    return common if len(prompts) > 1 and common >= SHARED_TOKENS else 0


def prefill(trunk: nn.Module, prompts: Sequence[tuple[int, ...]], device: torch.device) -> tuple[Tensor, DynamicCache]:
    """Hidden states [prompts, h] after the last token of each prompt, and the cache of all.

    Prompts are padded on the right, where a causal model doesn't see the padding: no mask is needed.
    """
    cache, shared = DynamicCache(), shared_tokens(prompts)
    if shared:
        trunk(input_ids=torch.tensor([prompts[0][:shared]], device=device), past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(prompts))
    own = [prompt[shared:] for prompt in prompts]
    longest = max(map(len, own))
    padded = torch.tensor([tokens + (0,) * (longest - len(tokens)) for tokens in own], device=device)
    last = torch.tensor([len(tokens) - 1 for tokens in own], device=device)
    hidden = trunk(input_ids=padded, past_key_values=cache, use_cache=True).last_hidden_state
    return hidden[torch.arange(len(own), device=device), last], cache
