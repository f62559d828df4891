"""Which loss an update has, and what it compares with: GRPO's, that of supervised fine-tuning, or a Critic's."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rzero_mega.config.schema import GrpoConfig, LossConfig, PairwiseConfig
from rzero_mega.learner.losses.aggregation import token_mean, token_weights
from rzero_mega.learner.losses.grpo import TokenInputs, grpo_loss
from rzero_mega.learner.losses.sft import sft_loss


def token_loss(logprobs: Tensor, entropy: Tensor, inputs: TokenInputs, config: LossConfig) -> tuple[Tensor, Tensor]:
    """(loss [], statistics [len(STATISTICS)]) of response tokens from `logprobs` and `entropy`, [n] in fp32."""
    if isinstance(config, GrpoConfig):
        return grpo_loss(logprobs, entropy, inputs, config)
    return sft_loss(logprobs, entropy, inputs)


def loss_weights(config: LossConfig, lengths: Sequence[int], longest_response: int) -> list[float]:
    """Weight of every response token of each sequence of an update; `lengths` are those of the responses."""
    if isinstance(config, GrpoConfig):
        return token_weights(config.loss_aggregation, lengths, config.sequences_per_micro_batch, longest_response)
    if is_pairwise(config):
        return [2.0 / max(1, len(lengths))] * len(lengths)
    return token_mean(lengths)


def is_pairwise(config: LossConfig) -> bool:
    """Whether the loss is one of scores, of a model that has a head, and of two sequences at a time."""
    return isinstance(config, PairwiseConfig)


def has_old_policy(config: LossConfig, updates: int) -> bool:
    """Whether log-probabilities before a step's first update are other ones than those of the policy itself."""
    return isinstance(config, GrpoConfig) and updates > 1


def has_sequence_ratio(config: LossConfig) -> bool:
    """Whether the loss of a token depends on the ratios of its whole sequence."""
    return isinstance(config, GrpoConfig) and config.policy_loss == "gspo"


def has_reference(config: LossConfig) -> bool:
    """Whether the loss has a KL term to the model at the start of the phase."""
    return isinstance(config, GrpoConfig) and config.kl_coefficient > 0


def has_base_reference(config: LossConfig) -> bool:
    """Whether the loss has a KL term to the base model."""
    return isinstance(config, GrpoConfig) and config.kl_base_coefficient > 0
