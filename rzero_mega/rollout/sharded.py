"""Rollout over the ranks of a process group: each draws its share, all get everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist

from rzero_mega.errors import UserError
from rzero_mega.rollout.protocol import EngineHealth, FinishReason, Request, RolloutEngine, Sample

if TYPE_CHECKING:
    from rzero_mega.rollout.protocol import NamedTensors

Words = npt.NDArray[np.int32]
FINISH_REASONS = tuple(FinishReason)


@dataclass(frozen=True)
class Part:
    """Samples of one request that one rank draws; `request` is the request's place in the whole list."""

    request: int
    first_index: int
    n: int


def split_requests(requests: Sequence[Request], ranks: int) -> list[list[Part]]:
    """Share all samples out: as many for every rank to within one, at most ranks - 1 requests cut.

    Requests are dealt out in turn, for neighbours tend to be of one kind and length, and the row of all their samples
    is then cut into equal stretches. Samples of one prompt thus stay together as far as balance allows, so that an
    engine reads the prompt once.
    """
    dealt = [i for rank in range(ranks) for i in range(rank, len(requests), ranks)]
    total = sum(request.n for request in requests)
    parts: list[list[Part]] = [[] for _ in range(ranks)]
    start = 0
    for i in dealt:
        end = start + requests[i].n
        for rank in range(ranks):
            low, high = max(start, total * rank // ranks), min(end, total * (rank + 1) // ranks)
            if low < high:
                parts[rank].append(Part(i, requests[i].first_index + low - start, high - low))
        start = end
    return parts


class ShardedEngine:
    """A `RolloutEngine` made of one engine per rank. Every rank calls every method with the same arguments (SPMD).

    `group` must accept CPU tensors (gloo); None is the default group. Without an initialised process group, or alone
    in it, the engine's own answer is passed through.
    """

    def __init__(self, engine: RolloutEngine, group: dist.ProcessGroup | None = None) -> None:
        """Wrap this rank's engine."""
        self._engine = engine
        self._group = group

    def generate(self, requests: Sequence[Request]) -> list[Sample]:
        """All samples of all requests on every rank, request-major, then by index. If one rank fails, all raise."""
        ranks = dist.get_world_size(self._group) if dist.is_initialized() else 1
        if ranks == 1:
            return self._engine.generate(requests)
        split = split_requests(requests, ranks)
        own = [
            replace(requests[part.request], n=part.n, first_index=part.first_index)
            for part in split[dist.get_rank(self._group)]
        ]
        samples, failure = self._generate_own(own)
        self._raise_together(failure)
        gathered = _all_gather(pack_samples(samples), self._group)
        return _merge(requests, split, gathered)

    def update_weights(self, tensors: NamedTensors, version: int) -> None:
        """Update this rank's engine; every rank must be given the whole stream."""
        self._engine.update_weights(tensors, version)

    def health(self) -> EngineHealth:
        """Of this rank's engine."""
        return self._engine.health()

    def close(self) -> None:
        """Close this rank's engine; the group stays."""
        self._engine.close()

    def _generate_own(self, own: list[Request]) -> tuple[list[Sample], Exception | None]:
        try:
            return self._engine.generate(own), None
        except Exception as error:  # re-raised on every rank by _raise_together
            return [], error

    def _raise_together(self, failure: Exception | None) -> None:
        """Raise on every rank if one has failed: a rank that went on alone would wait for the others forever."""
        kind = 0 if failure is None else 1 if isinstance(failure, UserError) else 2
        report = np.frombuffer(str(failure).encode(), np.uint8).astype(np.int32)
        reports = _all_gather(np.concatenate([np.array([kind], np.int32), report]), self._group)
        if failure is not None:
            raise failure
        for rank, words in enumerate(reports):
            if words[0] != 0:
                message = words[1:].astype(np.uint8).tobytes().decode(errors="replace")
                raise UserError(message) if words[0] == 1 else RuntimeError(f"rollout failed on rank {rank}: {message}")


def pack_samples(samples: Sequence[Sample]) -> Words:
    """What other ranks can't know, as 32-bit words: version, count, finish reasons, lengths, tokens, log-probs."""
    version = samples[0].weight_version if samples else -1
    finish = [FINISH_REASONS.index(sample.finish) for sample in samples]
    lengths = [len(sample.tokens) for sample in samples]
    tokens = [token for sample in samples for token in sample.tokens]
    logprobs = np.array([logprob for sample in samples for logprob in sample.logprobs], np.float32)
    header = np.array([version, len(samples), *finish, *lengths, *tokens], np.int32)
    return np.concatenate([header, logprobs.view(np.int32)])


def unpack_samples(words: Words, parts: Sequence[Part], requests: Sequence[Request]) -> list[Sample]:
    """Inverse of `pack_samples`, given which samples they are."""
    version, count = int(words[0]), int(words[1])
    finish, lengths = words[2 : 2 + count], words[2 + count : 2 + 2 * count]
    tokens, logprobs = np.split(words[2 + 2 * count :], 2)
    ends = np.cumsum(lengths).tolist()
    names = [(requests[part.request], part.first_index + i) for part in parts for i in range(part.n)]
    token_list, logprob_list = tokens.tolist(), np.ascontiguousarray(logprobs).view(np.float32).tolist()
    samples = []
    for i, (request, index) in enumerate(names):
        span = slice(ends[i] - int(lengths[i]), ends[i])
        samples.append(
            Sample(
                key=request.key,
                index=index,
                prompt_tokens=request.prompt_tokens,
                tokens=tuple(token_list[span]),
                logprobs=tuple(logprob_list[span]),
                finish=FINISH_REASONS[int(finish[i])],
                weight_version=version,
            )
        )
    return samples


def _merge(requests: Sequence[Request], split: list[list[Part]], gathered: list[Words]) -> list[Sample]:
    versions = {int(words[0]) for words in gathered if words[1] > 0}
    if len(versions) > 1:
        raise RuntimeError(f"the ranks of one rollout serve different weight versions: {sorted(versions)}")
    placed: list[tuple[int, int, Sample]] = []
    for parts, words in zip(split, gathered, strict=True):
        places = [part.request for part in parts for _ in range(part.n)]
        samples = unpack_samples(words, parts, requests)
        placed.extend((place, sample.index, sample) for place, sample in zip(places, samples, strict=True))
    placed.sort(key=lambda entry: entry[:2])
    return [sample for _, _, sample in placed]


def _all_gather(words: Words, group: dist.ProcessGroup | None) -> list[Words]:
    """The arrays of all ranks, which may differ in length."""
    ranks = dist.get_world_size(group)
    sizes = [torch.zeros(1, dtype=torch.long) for _ in range(ranks)]
    dist.all_gather(sizes, torch.tensor([len(words)]), group=group)
    longest = int(max(sizes))
    padded = torch.zeros(longest, dtype=torch.int32)
    padded[: len(words)] = torch.from_numpy(words)
    received = [torch.empty_like(padded) for _ in range(ranks)]
    dist.all_gather(received, padded, group=group)
    return [tensor[: int(size)].numpy() for tensor, size in zip(received, sizes, strict=True)]
