"""Writing a checkpoint while training goes on: copies in host memory now, files in the background, metadata at the end.

A save has three parts, as Megatron's own asynchronous one has. The ranks agree on who writes what (of what several
hold, one), and every rank copies its part to host memory: the next step may change the weights as soon as that is done.
A thread of every rank then writes the copies; it takes part in no collective, so it cannot meet those of the training.
The thread hashes what it wrote, while that is still in memory. Once all ranks' files are on disk, rank 0 writes
`.metadata`, without which the folder is no checkpoint, and the hashes of all files (`run/checksums.py`).

Megatron's writer does the second part in processes that it starts for every save, which costs seconds on a small model.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.dist_checkpointing.exchange_utils import determine_main_replica_uniform_distribution
from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
from megatron.core.dist_checkpointing.strategies.fully_parallel import (
    distribute_main_replicas_with_precomputed_distribution,
)
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, WriteItem
from torch.distributed.checkpoint.storage import WriteResult
from torch.distributed.checkpoint.utils import _DistWrapper

from rzero_mega import spmd
from rzero_mega.atomic import files_below, storage_errors
from rzero_mega.errors import UserError
from rzero_mega.learner.checkpoints.safe_files import write_common
from rzero_mega.learner.megatron.process_groups import device
from rzero_mega.run.checksums import Checksums, FileHash


class PendingSave:
    """A checkpoint on its way to disk. Every rank makes it, and calls its methods in the same order."""

    def __init__(self, folder: Path, state: dict[str, Any]) -> None:
        """Copy this rank's part of a sharded state to host memory and begin to write it into the empty `folder`.

        The copies are as large as the part, and each is let go of once it is written. UserError, on every rank, names
        the folder if what all ranks share cannot be written there.
        """
        self.folder, self._step = folder, int(state["step"])
        # Ranks wait for each other's writing here: storage has no limit in time.
        self._ranks = _DistWrapper(group=spmd.waiting_group(), use_dist=True, coordinator_rank=0)
        # Copying ahead is for tensors on a GPU, and would take up the first GPU from this process's thread.
        self._writer = FileSystemWriter(folder, per_thread_copy_ahead=0)
        plan, copies, self._metadata = _plan(folder, state, self._ranks, self._writer)
        executor = ThreadPoolExecutor(1, "checkpoint")
        self._written = executor.submit(_write, self._writer, plan, copies)
        executor.shutdown(wait=False)

    def is_written(self) -> bool:
        """Whether the files of all ranks are written, or can't be; `finish` returns at once then."""
        done = torch.tensor([int(self._written.done())], device=device())
        dist.all_reduce(done, op=dist.ReduceOp.MIN)
        return bool(done.item())

    def finish(self) -> None:
        """Wait for the files of all ranks and write the metadata, which completes the checkpoint.

        UserError, on every rank, names the folder if a rank cannot write there.
        """

        def complete(parts: list[_Written]) -> None:
            assert self._metadata is not None
            with storage_errors(self.folder):
                self._writer.finish(self._metadata, [part.results for part in parts])
                files = {name: found for part in parts for name, found in part.files.items()}
                others = {file.relative_to(self.folder).as_posix() for file in files_below(self.folder)} - files.keys()
                files |= {name: FileHash.of(self.folder / name) for name in others}
                Checksums(self._step, files).write(self.folder)

        try:
            self._ranks.all_reduce("write", self._written.result, complete)
        except CheckpointException as error:
            raise _failure(self.folder, error) from error


@dataclass(frozen=True)
class _Written:
    """What a rank wrote: the writer's results, and the hashes of its files."""

    results: list[WriteResult]
    files: dict[str, FileHash]


class _HostCopies:
    """What is asked for what to write: copies that the next step does not change, each given away once."""

    def __init__(self, planner: MCoreSavePlanner, plan: SavePlan) -> None:
        # Live tensors may be views of buffers, which a copy must not drag along.
        self._copies = {
            item.index: planner.resolve_data(item).detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for item in plan.items
        }

    def resolve_data(self, item: WriteItem) -> torch.Tensor:
        """The copy of a shard. Nothing else holds it."""
        return self._copies.pop(item.index)


def _plan(
    folder: Path, state: dict[str, Any], ranks: _DistWrapper, writer: FileSystemWriter
) -> tuple[SavePlan, _HostCopies, Metadata | None]:
    """This rank's part of the plan, copies of what it says, and on rank 0 the metadata. Collective."""
    sharded, common = save_preprocess(state, validate_access_integrity=False)
    _share_out(sharded)
    sharded, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded, keep_only_main_replica=True)
    planner = MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False)
    metadata: Metadata | None = None

    def local() -> SavePlan:
        with storage_errors(folder):
            if ranks.is_coordinator:
                write_common(folder, common)
        planner.set_up_planner(mcore_to_pyt_state_dict(sharded, False), is_coordinator=ranks.is_coordinator)
        writer.set_up_storage_writer(ranks.is_coordinator, rank=ranks.rank, use_collectives=True)
        return writer.prepare_local_plan(planner.create_local_plan())

    def everyones(plans: list[SavePlan]) -> list[SavePlan]:
        nonlocal metadata
        plans, metadata = planner.create_global_plan(plans)
        return writer.prepare_global_plan(plans)

    try:
        plan = planner.finish_plan(ranks.reduce_scatter("plan", local, everyones))
    except CheckpointException as error:
        raise _failure(folder, error) from error
    return plan, _HostCopies(planner, plan), metadata


def _share_out(sharded: dict[str, Any]) -> None:
    """Let each data-parallel rank write a part of what all of them hold; else the first would write everything."""
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    distribution = determine_main_replica_uniform_distribution(sharded, group)
    distribute_main_replicas_with_precomputed_distribution(sharded, group, distribution)


def _write(writer: FileSystemWriter, plan: SavePlan, copies: _HostCopies) -> _Written:
    folder = Path(writer.path)
    with storage_errors(folder):
        results = writer.write_data(plan, copies).wait()  # type: ignore[arg-type]
        names = sorted({result.storage_data.relative_path for result in results})
        return _Written(results, {name: FileHash.of(folder / name) for name in names})


def _failure(folder: Path, error: CheckpointException) -> Exception:
    """The first rank's failure. torch gathers them in a BaseException, which no handler of ordinary errors sees."""
    rank, (cause, _) = next(iter(error.failures.items()))
    if isinstance(cause, UserError):
        return cause
    if isinstance(cause, OSError):
        return UserError(f"{folder}: rank {rank} could not write its part of a checkpoint: {cause.strerror}")
    return RuntimeError(f"{folder}: writing a checkpoint failed on rank {rank}: {cause!r}")
