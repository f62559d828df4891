"""torch.distributed and Megatron's process groups of a parallel layout."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import LearnerConfig
from rzero_mega.errors import UserError
from rzero_mega.learner.megatron import compat
from rzero_mega.run.determinism import deterministic_variables
from rzero_mega.run.heartbeat import heartbeat
from rzero_mega.run.launch import STORE, check_rank


def start_process_groups(
    layout: ParallelLayout,
    seed: int,
    collective_timeout_s: float = LearnerConfig.collective_timeout_s,
    deterministic: bool = False,
) -> None:
    """Start torch.distributed (as torchrun says, or alone) and Megatron's groups, or check those that are there.

    `collective_timeout_s` is how long a rank waits for the others in a collective. What rank 0 does alone is waited for
    without a limit (`spmd`). `deterministic` is `learner.deterministic`: from here on this process sums in a fixed
    order. The variables that say so go to the servers that it starts, too.

    Raises RuntimeError if the groups are those of another layout: the sizes of groups and of the model's configuration
    must agree, or gradients are silently summed over the wrong ranks.
    """
    compat.install()
    if deterministic:
        os.environ.update(deterministic_variables(os.environ))
        torch.use_deterministic_algorithms(True)
        # Memory that nobody has written is not read here either; to fill it would take time in every step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    from megatron.core import parallel_state, tensor_parallel

    _start_distributed(layout.processes, timedelta(seconds=collective_timeout_s))
    if not parallel_state.model_parallel_is_initialized():
        with compat.cuda_literals_mean_cpu():
            parallel_state.initialize_model_parallel(
                **_sizes(layout),
                create_gloo_process_groups=False,
                distributed_timeout_minutes=math.ceil(collective_timeout_s / 60),
            )
            tensor_parallel.model_parallel_cuda_manual_seed(seed)
    found = (
        parallel_state.get_tensor_model_parallel_world_size(),
        parallel_state.get_pipeline_model_parallel_world_size(),
        parallel_state.get_virtual_pipeline_model_parallel_world_size() or 1,
        parallel_state.get_context_parallel_world_size(),
        parallel_state.get_data_parallel_world_size(),
        parallel_state.get_expert_model_parallel_world_size(),
        parallel_state.get_expert_tensor_parallel_world_size(),
    )
    if found != (layout.tp, layout.pp, layout.vpp, layout.cp, layout.dp, layout.ep, layout.etp):
        raise RuntimeError(f"process groups are (tp, pp, vpp, cp, dp, ep, etp) {found}, the layout asks for {layout}")


def transformer_settings(layout: ParallelLayout) -> dict[str, Any]:
    """The fields of Megatron's TransformerConfig that a layout decides."""
    return {**_sizes(layout), "sequence_parallel": layout.sequence_parallel}


def device() -> torch.device:
    """The device that this process trains on."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def watched_ranks(hang_timeout_s: float) -> Iterator[None]:
    """Inside, a rank that does not move for so long is named, and the process that notices ends (`run.heartbeat`)."""
    if dist.get_world_size() == 1:
        yield
        return
    met = dist.distributed_c10d._get_default_store()  # type: ignore[attr-defined]
    # A connection of its own, where torch is new enough: the other may be held by a thread that waits for a key.
    store = dist.PrefixStore("heartbeats", met.clone() if hasattr(met, "clone") else met)  # type: ignore[attr-defined]
    store.set_timeout(timedelta(seconds=hang_timeout_s))
    with heartbeat(store, dist.get_rank(), dist.get_world_size(), hang_timeout_s):
        yield


def _sizes(layout: ParallelLayout) -> dict[str, int | None]:
    """The sizes under Megatron's names, which are the same for its groups and its TransformerConfig."""
    return {
        "tensor_model_parallel_size": layout.tp,
        "pipeline_model_parallel_size": layout.pp,
        "virtual_pipeline_model_parallel_size": None if layout.vpp == 1 else layout.vpp,
        "context_parallel_size": layout.cp,
        "expert_model_parallel_size": layout.ep,
        "expert_tensor_parallel_size": layout.etp,
    }


def _start_distributed(processes: int, timeout: timedelta) -> None:
    if dist.is_initialized():
        return
    check_rank(os.environ)
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store = _local_store()
    if store is None:
        dist.init_process_group(backend, timeout=timeout)
    else:
        rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    if dist.get_world_size() != processes:
        raise UserError(
            f"learner.processes: {processes}, but {dist.get_world_size()} processes were started; make the two equal"
        )


def _local_store() -> Any:
    """Where ranks meet: in memory if there is one, in a file if `run.launch` started them; None: as torchrun says."""
    if "RANK" not in os.environ:
        return dist.HashStore()  # type: ignore[attr-defined]
    if STORE in os.environ:
        return dist.FileStore(os.environ[STORE], int(os.environ["WORLD_SIZE"]))  # type: ignore[attr-defined]
    return None
