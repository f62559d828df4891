"""GPTModel as a policy: its last stage hands out hidden states, and the loss computes log-probabilities from them."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
)
from torch import Tensor

from rzero_mega.learner.logprobs import hidden_logprobs

# The name, among the modules of a policy, of the one that stands in for the output layer.
LOGPROBS = "output_logprobs"


class OutputLogProbs(torch.nn.Module):
    """`hidden_logprobs` as a module, so that hooks see it as they see all others."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self._vocabulary = vocabulary

    def forward(self, hidden: Tensor, *, weight: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of `targets` [t] and entropy [t] from `hidden` [t, h] and `weight` [v / tp, h]."""
        group = parallel_state.get_tensor_model_parallel_group()
        return hidden_logprobs(hidden, weight, targets, self._vocabulary, group)


class PolicyModel(GPTModel):
    """A GPTModel whose last stage returns the hidden states [t, h] of its packed tokens instead of logits.

    On every tensor-parallel rank they are those of all t tokens, and their gradient is summed over the ranks.
    """

    def __init__(self, *, vocabulary: int, **settings: Any) -> None:
        """`vocabulary` is the number of entries without padding; the rest as GPTModel."""
        super().__init__(**settings)
        if self.post_process:
            self.output_logprobs = OutputLogProbs(vocabulary)

    def logprobs(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Of the last stage: log-probability of `targets` [t], and entropy [t], from what it returned."""
        found: tuple[Tensor, Tensor] = self.output_logprobs(hidden, weight=self.output_weight, targets=targets)
        return found

    def _postprocess(self, hidden_states: Tensor, **_unused: Any) -> Tensor:
        if not self.post_process:
            return hidden_states
        hidden = hidden_states[:, 0]  # [t, b = 1, h]
        if self.config.sequence_parallel:
            gathered: Tensor = gather_from_sequence_parallel_region(hidden)
            return gathered
        copied: Tensor = copy_to_tensor_model_parallel_region(hidden)
        return copied

    @property
    def output_weight(self) -> torch.nn.Parameter:
        """This rank's rows of the output layer, [v / tp, h]."""
        tied = self.share_embeddings_and_output_weights
        weight: torch.nn.Parameter = self.shared_embedding_or_output_weight() if tied else self.output_layer.weight
        return weight


def bare(module: torch.nn.Module) -> PolicyModel:
    """The policy inside the wrappers of data parallelism and half precision."""
    while hasattr(module, "module"):
        module = module.module  # type: ignore[assignment]
    assert isinstance(module, PolicyModel)
    return module
