"""GPTModel as a policy: its last stage hands out hidden states, and the loss computes log-probabilities from them."""

from __future__ import annotations

from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
)
from torch import Tensor


class PolicyModel(GPTModel):
    """A GPTModel whose last stage returns the hidden states [t, h] of its packed tokens instead of logits.

    On every tensor-parallel rank they are those of all t tokens, and their gradient is summed over the ranks.
    """

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
