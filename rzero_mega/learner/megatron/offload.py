"""The learner's memory on the device, kept in host memory while the rollout engine needs the device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch
from megatron.core.optimizer import MegatronOptimizer
from torch import Tensor, UntypedStorage

from rzero_mega.learner.megatron.model import Model
from rzero_mega.learner.megatron.optimizer import chained


@dataclass
class _Offloaded:
    storage: UntypedStorage
    nbytes: int
    copy: Tensor | None  # on the host; None: comes back as zeros


class Offloader:
    """Frees the memory behind tensors and brings it back, so that every view of it stays a view.

    `what` is `optimizer` (fp32 weights and moments; gradients, which are dropped: every update begins with zeros) or
    `all` (the weights that train as well). Moving the tensors themselves, as Megatron's own offloading does, would cut
    the optimizer's fp32 weights off from the buffer of which they are views when the model trains in fp32.
    """

    def __init__(self, model: Model, optimizer: MegatronOptimizer, what: str) -> None:
        self._model, self._optimizer, self._what = model, optimizer, what
        self._offloaded: list[_Offloaded] = []
        # Page-locked memory is slow to allocate: each copy is made into the same buffer every time.
        self._hosts: list[Tensor] = []

    def offload(self) -> int:
        """Free the memory; returns the number of bytes freed. Until `reload` the tensors must not be touched."""
        if self._offloaded:
            raise RuntimeError("offloaded already")
        frozen = (p.data for p in self._model.parameters.values() if not p.requires_grad)
        weights = _storages(chain((buffer.param_data for buffer in self._model.buffers), frozen))
        kept = set() if self._what == "all" else set(weights)
        for storage in _storages(buffer.grad_data for buffer in self._model.buffers).values():
            self._offloaded.append(_Offloaded(storage, storage.nbytes(), None))
        state = {**weights, **_storages(_optimizer_tensors(self._optimizer))}
        for place, storage in enumerate(storage for key, storage in state.items() if key not in kept):
            self._offloaded.append(_Offloaded(storage, storage.nbytes(), self._copy(place, storage)))
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        for offloaded in self._offloaded:
            offloaded.storage.resize_(0)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return sum(offloaded.nbytes for offloaded in self._offloaded)

    def reload(self) -> None:
        """Bring everything back as it was; gradients as zeros."""
        for offloaded in self._offloaded:
            offloaded.storage.resize_(offloaded.nbytes)
            data = _bytes(offloaded.storage)
            data.zero_() if offloaded.copy is None else data.copy_(offloaded.copy, non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._offloaded = []

    def _copy(self, place: int, storage: UntypedStorage) -> Tensor:
        if place == len(self._hosts) or self._hosts[place].numel() != storage.nbytes():
            host = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=torch.cuda.is_available())
            self._hosts[place : place + 1] = [host]
        return self._hosts[place].copy_(_bytes(storage), non_blocking=True)


def _bytes(storage: UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)  # type: ignore[call-overload, no-any-return]


def _storages(tensors: Iterator[Tensor | None]) -> dict[int, UntypedStorage]:
    """The memory behind the tensors, each once."""
    found = (tensor.untyped_storage() for tensor in tensors if tensor is not None and tensor.numel())
    return {storage.data_ptr(): storage for storage in found}


def _optimizer_tensors(optimizer: MegatronOptimizer) -> Iterator[Tensor]:
    for part in chained(optimizer):
        for group in part.optimizer.param_groups:
            yield from group["params"]
        for state in part.optimizer.state.values():
            yield from (value for value in state.values() if torch.is_tensor(value))
