"""The parallel layout of the learner: its sizes, and what follows from them by arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.config.schema import LayoutConfig
from rzero_mega.errors import UserError


@dataclass(frozen=True)
class ParallelLayout:
    """How one model is spread over processes; by default one process holds all of it.

    The sizes are those that `LayoutConfig` explains; `dp` counts copies of the model, each with its own sequences.
    Experts are spread over the same tp x cp x dp ranks of a stage as the rest, which ep x etp divides.
    """

    tp: int = 1
    pp: int = 1
    vpp: int = 1
    cp: int = 1
    dp: int = 1
    ep: int = 1
    etp: int = 1
    sequence_parallel: bool = False

    @classmethod
    def from_config(cls, config: LayoutConfig, processes: int) -> ParallelLayout:
        """The layout of `learner.layout` on `learner.processes`; dp is what these leave. UserError names the key."""
        model_size = config.tp * config.pp * config.cp
        if processes % model_size:
            raise UserError(
                f"learner.processes: {processes} processes cannot hold copies of a model spread over "
                f"tp {config.tp} x pp {config.pp} x cp {config.cp} = {model_size}; set a multiple of {model_size}"
            )
        if config.sequence_parallel and config.tp == 1:
            raise UserError("learner.layout.sequence_parallel: needs learner.layout.tp above 1; set it to false")
        if config.vpp > 1 and config.pp == 1:
            raise UserError("learner.layout.vpp: needs learner.layout.pp above 1; set it to 1")
        dp, etp = processes // model_size, config.etp or config.tp
        stage = config.tp * config.cp * dp
        if stage % (config.ep * etp):
            raise UserError(
                f"learner.layout.ep: ep {config.ep} x etp {etp} does not divide the {stage} processes of a "
                f"pipeline stage (tp {config.tp} x cp {config.cp} x dp {dp})"
            )
        return cls(
            tp=config.tp,
            pp=config.pp,
            vpp=config.vpp,
            cp=config.cp,
            dp=dp,
            ep=config.ep,
            etp=etp,
            sequence_parallel=config.sequence_parallel,
        )

    @property
    def processes(self) -> int:
        """Number of ranks."""
        return self.tp * self.pp * self.cp * self.dp

    @property
    def micro_batch_multiple(self) -> int:
        """What the number of micro-batches of an update must be a multiple of: interleaved pipelines work in groups."""
        return 1 if self.vpp == 1 else self.pp

    @property
    def sequence_parallel_ranks(self) -> int:
        """Over how many tensor-parallel ranks tokens are cut outside the matrices: tp, or 1."""
        return self.tp if self.sequence_parallel else 1

    @property
    def token_ranks(self) -> int:
        """Over how many ranks a micro-batch's tokens are cut outside attention and MLP."""
        return self.cp * self.sequence_parallel_ranks

    @property
    def expert_dp(self) -> int:
        """Over how many ranks the optimizer state of one expert is cut."""
        return self.tp * self.cp * self.dp // (self.ep * self.etp)
