"""What a training step consists of, as far as memory and time depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# Megatron's name for the set of modules that layers are built of: what GPUs run, and what CPUs run.
TransformerImpl = Literal["transformer_engine", "local"]


@dataclass(frozen=True)
class Workload:
    """One training step, as the configuration of the learner and of the role says it.

    `sequences` rollouts of `length` tokens, prompt and response (all are taken to be that long); `longest` is what the
    longest may have, for which a micro-batch and a server must have room;
    `sequences_per_update` of them make an optimizer update. `scoring_passes` counts the forward passes besides
    training: old policy, reference, and the base model where the loss compares with that. `element_bytes` is the size
    of a weight and of an activation: 2 or 4. With an `adapter_rank` the layers of `adapted` have adapters
    (`learner.lora`), and these alone train. `critic` says that the same ranks train a Critic, too, whose weights lie
    where the reference's do while it scores (`critic.train`).
    """

    sequences: int = 2048
    length: int = 4096
    longest: int = 0
    tokens_per_micro_batch: int = 16384
    sequences_per_update: int = 128
    scoring_passes: int = 2
    element_bytes: int = 2
    fp8: bool = False
    transformer_impl: TransformerImpl = "transformer_engine"
    adapter_rank: int = 0
    adapted: tuple[str, ...] = ()
    critic: bool = False

    @property
    def smallest_micro_batch(self) -> int:
        """Tokens that a micro-batch must hold: sequences are never cut."""
        return max(self.length, self.longest)

    @property
    def updates(self) -> int:
        """Optimizer updates of a step."""
        return -(-self.sequences // self.sequences_per_update)

    def micro_batches(self, dp: int) -> int:
        """Micro-batches of one update on each of `dp` data-parallel ranks; sequences are never cut."""
        per_micro_batch = max(1, self.tokens_per_micro_batch // self.length)
        return -(-min(self.sequences, self.sequences_per_update) // (per_micro_batch * dp))
