"""GPTModel as a policy: its last stage hands out hidden states, and the loss computes log-probabilities from them.

Or as a Critic, which has a head beside the output layer: the loss computes scores from them.
"""

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

    On every tensor-parallel rank they are those of all t tokens. Their gradient is summed over the ranks, each of which
    has a part of the output layer; a Critic's is the same on all of them, as its head is.
    """

    def add_head(self) -> None:
        """Make it a Critic: the last stage gets a head, `score.weight` [1, h]."""
        if self.post_process:
            self.score = torch.nn.Linear(self.config.hidden_size, 1, bias=False)

    @property
    def head(self) -> torch.nn.Linear | None:
        """That of a Critic's last stage."""
        found = self._modules.get("score")
        return found if isinstance(found, torch.nn.Linear) else None

    def _postprocess(self, hidden_states: Tensor, **_unused: Any) -> Tensor:
        if not self.post_process:
            return hidden_states
        hidden = hidden_states[:, 0]  # [t, b = 1, h]
        if self.config.sequence_parallel:
            gathered: Tensor = gather_from_sequence_parallel_region(
                hidden, tensor_parallel_output_grad=self.head is None
            )
            return gathered
        if self.head is not None:
            return hidden
        copied: Tensor = copy_to_tensor_model_parallel_region(hidden)
        return copied

    def nothing_of_output_layer(self) -> Tensor | float:
        """Zero, with a gradient of zeros for the output layer that a Critic's loss doesn't look at.

        Megatron waits for a gradient of every parameter that a stage has.
        """
        weight: Tensor | None = self.output_layer.weight
        return 0.0 if weight is None else 0.0 * weight.sum()

    @property
    def output_weight(self) -> torch.nn.Parameter:
        """This rank's rows of the output layer, [v / tp, h]; a Critic's head, [1, h], is the same on all ranks."""
        tied = self.share_embeddings_and_output_weights
        weight: torch.nn.Parameter
        if self.head is not None:
            weight = self.head.weight  # type: ignore[assignment]
        else:
            weight = self.shared_embedding_or_output_weight() if tied else self.output_layer.weight
        return weight


def bare(module: torch.nn.Module) -> PolicyModel:
    """The policy inside the wrappers of data parallelism and half precision."""
    while hasattr(module, "module"):
        module = module.module  # type: ignore[assignment]
    assert isinstance(module, PolicyModel)
    return module
