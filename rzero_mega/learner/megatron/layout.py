"""The parallel layout of the learner: one object builds the process groups and the model's configuration."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from rzero_mega.config.schema import LayoutConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.megatron import compat
from rzero_mega.run.launch import STORE

COLLECTIVE_TIMEOUT = datetime.timedelta(minutes=30)


@dataclass(frozen=True)
class ParallelLayout:
    """How one model is spread over processes. `dp` is what the number of processes leaves after tp, pp and cp.

    Experts are spread over `ep` ranks, each expert cut over `etp`; both divide the tp x cp x dp ranks of a pipeline
    stage. `vpp` cuts each stage into that many chunks that take turns (interleaved pipeline).
    """

    tp: int
    pp: int
    dp: int
    sequence_parallel: bool
    ep: int = 1
    etp: int = 1
    cp: int = 1
    vpp: int | None = None

    @property
    def processes(self) -> int:
        """Number of ranks."""
        return self.tp * self.pp * self.cp * self.dp

    @property
    def micro_batch_multiple(self) -> int:
        """What the number of micro-batches of an update must be a multiple of: an interleaved pipeline fills up."""
        return 1 if self.vpp is None else self.pp

    @classmethod
    def from_config(cls, config: LayoutConfig, world_size: int) -> ParallelLayout:
        """Layout for `world_size` processes; UserError names the key that does not divide or is not available."""
        model_size = config.tp * config.pp * config.cp
        if world_size % model_size:
            raise UserError(
                f"learner.layout: {world_size} processes do not divide into models of tp {config.tp} x pp {config.pp} "
                f"x cp {config.cp}; start a multiple of {model_size} (learner.processes)"
            )
        if config.vpp is not None and config.pp == 1:
            raise UserError("learner.layout.vpp: needs learner.layout.pp above 1; set it to null")
        dp, etp = world_size // model_size, config.etp or config.tp
        stage = config.tp * config.cp * dp
        if stage % (config.ep * etp):
            raise UserError(
                f"learner.layout.ep: ep {config.ep} x etp {etp} does not divide the {stage} processes of a "
                f"pipeline stage (tp {config.tp} x cp {config.cp} x dp {dp})"
            )
        vpp = None if config.vpp == 1 else config.vpp
        return cls(config.tp, config.pp, dp, config.sequence_parallel, config.ep, etp, config.cp, vpp)

    def transformer_settings(self) -> dict[str, Any]:
        """The fields of Megatron's TransformerConfig that this layout decides."""
        return {
            "tensor_model_parallel_size": self.tp,
            "pipeline_model_parallel_size": self.pp,
            "virtual_pipeline_model_parallel_size": self.vpp,
            "context_parallel_size": self.cp,
            "expert_model_parallel_size": self.ep,
            "expert_tensor_parallel_size": self.etp,
            "sequence_parallel": self.sequence_parallel,
        }

    def initialize(self, seed: int) -> None:
        """Start torch.distributed (as torchrun says, or alone) and Megatron's groups, or check existing ones.

        Raises RuntimeError if groups of another layout are already there: the sizes of groups and of the model's
        configuration must agree, or gradients are silently summed over the wrong ranks.
        """
        compat.install()
        from megatron.core import parallel_state, tensor_parallel

        _start_distributed(self.processes)
        if not parallel_state.model_parallel_is_initialized():
            with compat.cuda_literals_mean_cpu():
                parallel_state.initialize_model_parallel(
                    tensor_model_parallel_size=self.tp,
                    pipeline_model_parallel_size=self.pp,
                    virtual_pipeline_model_parallel_size=self.vpp,
                    context_parallel_size=self.cp,
                    expert_model_parallel_size=self.ep,
                    expert_tensor_parallel_size=self.etp,
                    create_gloo_process_groups=False,
                )
                tensor_parallel.model_parallel_cuda_manual_seed(seed)
        found = (
            parallel_state.get_tensor_model_parallel_world_size(),
            parallel_state.get_pipeline_model_parallel_world_size(),
            parallel_state.get_virtual_pipeline_model_parallel_world_size(),
            parallel_state.get_context_parallel_world_size(),
            parallel_state.get_data_parallel_world_size(),
            parallel_state.get_expert_model_parallel_world_size(),
            parallel_state.get_expert_tensor_parallel_world_size(),
        )
        if found != (self.tp, self.pp, self.vpp, self.cp, self.dp, self.ep, self.etp):
            raise RuntimeError(f"process groups are (tp, pp, vpp, cp, dp, ep, etp) {found}, the layout asks for {self}")


def device() -> torch.device:
    """The device that this process trains on."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _start_distributed(world_size: int) -> None:
    if dist.is_initialized():
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store = _local_store()
    if store is None:
        dist.init_process_group(backend, timeout=COLLECTIVE_TIMEOUT)
    else:
        number, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=COLLECTIVE_TIMEOUT)
    if dist.get_world_size() != world_size:
        raise UserError(
            f"learner.processes: {world_size}, but {dist.get_world_size()} processes were started; make the two equal"
        )


def _local_store() -> Any:
    """Where ranks meet: in memory if there is one, in a file if `run.launch` started them; None: as torchrun says."""
    if "RANK" not in os.environ:
        return dist.HashStore()  # type: ignore[attr-defined]
    if STORE in os.environ:
        return dist.FileStore(os.environ[STORE], int(os.environ["WORLD_SIZE"]))  # type: ignore[attr-defined]
    return None
