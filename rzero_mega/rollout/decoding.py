"""Batched decoding with a transformers model: shared prompts are read once, finished rows make room for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rzero_mega.config.schema import SamplingConfig
from rzero_mega.rollout.kv_cache import SlotCache
from rzero_mega.rollout.prefill import prefill, prefill_chunks
from rzero_mega.rollout.protocol import Draw, FinishReason
from rzero_mega.rollout.sampling import sample_tokens, uniform_stream

# New rows come in when so many quarters of the slots are free: best or within noise for a model of 0.8 M and of 135 M.
REFILL_QUARTERS = 3


@dataclass(frozen=True)
class Continuation:
    """What the model wrote."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: FinishReason


class Rows:
    """The state of the rows in flight, row i in slot i of the cache; all tensors are on the model's device.

    `draw` [slots] is the place of the row's draw in the call, `length` [slots] how many positions its cache holds,
    `count` [slots] how many tokens it has, `limit` [slots] how many it may have; `tokens`, `logprobs` and `uniforms`
    are [slots, limit].
    """

    def __init__(self, slots: int, most_tokens: int, device: torch.device) -> None:
        self.active = 0
        self.draw, self.length, self.count, self.limit = torch.zeros(4, slots, dtype=torch.long, device=device)
        self.tokens = torch.zeros(slots, most_tokens, dtype=torch.long, device=device)
        self.logprobs = torch.zeros(slots, most_tokens, device=device)
        self.uniforms = torch.zeros(slots, most_tokens, device=device)
        self._numbers = torch.arange(slots, device=device)

    @property
    def numbers(self) -> Tensor:
        """0 .. active - 1."""
        return self._numbers[: self.active]

    def append(self, draws: Tensor, lengths: Tensor, limits: Tensor, uniforms: Tensor) -> None:
        """Put new rows after the active ones."""
        rows = slice(self.active, self.active + len(draws))
        self.draw[rows], self.length[rows], self.limit[rows], self.count[rows] = draws, lengths, limits, 0
        self.uniforms[rows] = uniforms
        self.active = rows.stop

    def write(self, tokens: Tensor, logprobs: Tensor) -> None:
        """Add one token to every active row."""
        count = self.count[: self.active]
        self.tokens[self.numbers, count] = tokens
        self.logprobs[self.numbers, count] = logprobs
        count += 1

    def move(self, sources: Tensor, destinations: Tensor) -> None:
        """Copy rows."""
        for tensor in (self.draw, self.length, self.count, self.limit, self.tokens, self.logprobs, self.uniforms):
            tensor[destinations] = tensor[sources]


class Decoder:
    """Decodes draws of one sampling configuration, at most `slots` at a time.

    The schedule depends on the draws alone, so the same draws give the same bits again.
    """

    def __init__(self, model: PreTrainedModel, stop_tokens: frozenset[int], context: int, slots: int) -> None:
        self._trunk = model.get_decoder()
        self._head = model.get_output_embeddings()
        self._device = model.device
        self._context = context
        self._slots = slots
        self._cache = SlotCache(slots)
        self._is_stop = torch.zeros(model.config.vocab_size, dtype=torch.bool, device=self._device)
        self._is_stop[[token for token in stop_tokens if token < len(self._is_stop)]] = True

    @torch.inference_mode()
    def decode(self, draws: Sequence[Draw], sampling: SamplingConfig) -> list[Continuation]:
        """One continuation per draw, in their order."""
        prompts = [draw.request.prompt_tokens for draw in draws]
        # Longest prompts first, equal prompts together: neighbours share their prefill and have similar lengths.
        waiting = sorted(range(len(draws)), key=lambda i: (-len(prompts[i]), prompts[i], i))
        slots = min(self._slots, len(draws))
        most_tokens = max((self._limit(draw, sampling) for draw in draws), default=0)
        rows, cache = Rows(slots, most_tokens, self._device), self._cache
        written: dict[int, Continuation] = {}
        logits = torch.empty(0, len(self._is_stop), device=self._device)
        while waiting or rows.active:
            # Rows that differ in length waste attention on padding, so new rows wait until few old ones are left.
            free = slots - rows.active
            if waiting and free >= max(1, slots * REFILL_QUARTERS // 4):
                admitted, waiting = waiting[:free], waiting[free:]
                new_logits = self._admit([draws[i] for i in admitted], admitted, sampling, rows, cache)
                logits = torch.cat([logits.to(new_logits.dtype), new_logits])
            uniforms = rows.uniforms[rows.numbers, rows.count[: rows.active]]
            tokens, logprobs = sample_tokens(logits, uniforms, sampling)
            rows.write(tokens, logprobs)
            stopped = self._is_stop[tokens]
            finished = stopped | (rows.count[: rows.active] >= rows.limit[: rows.active])
            if finished.any():
                written.update(_harvest(rows, finished, stopped))
                _close_gaps(rows, cache, finished)
            logits = self._step(rows, cache)
        return [written[i] for i in range(len(draws))]

    def release(self) -> None:
        """Drop the cache, which otherwise keeps its size between calls."""
        self._cache = SlotCache(self._slots)

    def _limit(self, draw: Draw, sampling: SamplingConfig) -> int:
        return min(sampling.max_new_tokens, self._context - len(draw.request.prompt_tokens))

    def _admit(
        self, draws: list[Draw], numbers: list[int], sampling: SamplingConfig, rows: Rows, cache: SlotCache
    ) -> Tensor:
        """Read the prompts of the draws, each distinct one once, and give every draw a row. Returns logits [b, v].

        `numbers` are the places of the draws in the call.
        """
        first = rows.active
        limits = [self._limit(draw, sampling) for draw in draws]
        uniforms = torch.zeros(len(draws), rows.uniforms.shape[1])
        if sampling.temperature > 0.0:
            for row, (draw, limit) in enumerate(zip(draws, limits, strict=True)):
                uniforms[row, :limit] = torch.from_numpy(uniform_stream(draw.request.key, draw.index, limit))
        prompts = [draw.request.prompt_tokens for draw in draws]
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self._device)
        rows.append(
            torch.tensor(numbers, device=self._device),
            lengths,
            torch.tensor(limits, device=self._device),
            uniforms.to(self._device),
        )
        logits = []
        for chunk in prefill_chunks(prompts):
            prompt_of_row = torch.tensor(chunk.prompt_of_row, device=self._device)
            hidden, prefilled = prefill(self._trunk, chunk.prompts, self._device)
            cache.insert(first, prefilled, prompt_of_row)
            logits.append(self._head(hidden)[prompt_of_row])
            first += len(prompt_of_row)
        return torch.cat(logits)

    def _step(self, rows: Rows, cache: SlotCache) -> Tensor:
        """Read the newest token of every active row; logits [b, v] for the next."""
        if rows.active == 0:
            return torch.empty(0, len(self._is_stop), device=self._device)
        length, count = rows.length[: rows.active], rows.count[: rows.active]
        mask = cache.begin_step(length)
        hidden = self._trunk(
            input_ids=rows.tokens[rows.numbers, count - 1][:, None],
            position_ids=length[:, None],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        length += 1
        logits: Tensor = self._head(hidden[:, -1])
        return logits


def _harvest(rows: Rows, finished: Tensor, stopped: Tensor) -> dict[int, Continuation]:
    """The continuations of the finished rows, by their draws' places in the call."""
    which = finished.nonzero()[:, 0]
    counts = rows.count[which].tolist()
    reasons = [FinishReason.STOP if stop else FinishReason.LENGTH for stop in stopped[which].tolist()]
    tokens = rows.tokens[which, : max(counts)].tolist()
    logprobs = rows.logprobs[which, : max(counts)].tolist()
    return {
        draw: Continuation(tuple(tokens[i][: counts[i]]), tuple(logprobs[i][: counts[i]]), reasons[i])
        for i, draw in enumerate(rows.draw[which].tolist())
    }


def _close_gaps(rows: Rows, cache: SlotCache, finished: Tensor) -> None:
    """Move the last unfinished rows into the places of finished ones, so that the active rows stay a prefix."""
    remaining = rows.active - int(finished.sum())
    destinations = finished[:remaining].nonzero()[:, 0]
    sources = (~finished[remaining:]).nonzero()[:, 0] + remaining
    if len(sources):
        rows.move(sources, destinations)
        cache.move(sources, destinations)
    rows.active = remaining
