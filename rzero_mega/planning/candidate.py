"""What the planner chooses between, and what it is asked to plan for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rzero_mega.weights.shape import ModelShape

Recompute = Literal["none", "selective", "full"]
Spec = Literal["transformer_engine", "local"]
Rollout = Literal["turns", "resident", "elsewhere"]


@dataclass(frozen=True)
class Candidate:
    """A parallel layout as `learner.layout` has it, and what is recomputed. `vpp` 1 is no interleaving."""

    tp: int = 1
    pp: int = 1
    vpp: int = 1
    cp: int = 1
    dp: int = 1
    ep: int = 1
    etp: int = 1
    sequence_parallel: bool = False
    recompute: Recompute = "none"

    @property
    def gpus(self) -> int:
        """Processes in all."""
        return self.tp * self.pp * self.cp * self.dp

    @property
    def token_ranks(self) -> int:
        """Over how many ranks tokens are cut outside attention and MLP."""
        return self.cp * (self.tp if self.sequence_parallel else 1)

    @property
    def expert_dp(self) -> int:
        """Over how many ranks the optimizer state of one expert is cut."""
        return self.tp * self.cp * self.dp // (self.ep * self.etp)


@dataclass(frozen=True)
class Workload:
    """One training step, as the learner's and the role's configuration say it.

    `sequences` rollouts of `length` tokens, prompt and response (all are taken to be that long);
    `sequences_per_update` of them make an optimizer update. `scoring_passes` counts the forward passes besides
    training: reference and old policy.
    """

    sequences: int = 2048
    length: int = 4096
    tokens_per_micro_batch: int = 16384
    sequences_per_update: int = 128
    scoring_passes: int = 2
    element_bytes: int = 2
    fp8: bool = False
    spec: Spec = "transformer_engine"

    @property
    def updates(self) -> int:
        """Optimizer updates of a step."""
        return -(-self.sequences // self.sequences_per_update)

    def micro_batches(self, dp: int) -> int:
        """Of one update, per data-parallel rank; sequences are never cut."""
        per_micro_batch = max(1, self.tokens_per_micro_batch // self.length)
        return -(-min(self.sequences, self.sequences_per_update) // (per_micro_batch * dp))


def stage_layers(shape: ModelShape, candidate: Candidate) -> int:
    """Transformer layers of a pipeline stage."""
    return shape.layers // candidate.pp
