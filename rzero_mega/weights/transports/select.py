"""Which transport: the one that the user names, or the fastest that can work here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rzero_mega.config.schema import SglangConfig
from rzero_mega.errors import UserError
from rzero_mega.weights.transports.collective import CollectiveTransport
from rzero_mega.weights.transports.disk import DiskTransport
from rzero_mega.weights.transports.protocol import Transport
from rzero_mega.weights.transports.tensor import TensorTransport


@dataclass(frozen=True)
class SyncFacts:
    """Where weights come from and go to. Devices are "cpu" or "cuda"."""

    learner_device: str
    server_device: str
    same_host: bool
    shared_gpus: bool = False
    """The servers run on GPUs that the learner uses too."""
    shared_folder: bool = False
    """The servers see the learner's weights.folder under the same path; on one host they always do."""
    nccl_apart: str = ""
    """Why NCCL joins no group of the learner's and the servers' processes: it refuses another release than its own."""


@dataclass(frozen=True)
class Choice:
    """A transport and why, a sentence for the log."""

    name: str
    reason: str


def choose(sync: str, facts: SyncFacts) -> Choice:
    """The transport for `weights.sync`; UserError if the one that the user names cannot work."""
    if sync != "auto":
        obstacle = _obstacle(sync, facts)
        if obstacle:
            raise UserError(f"weights.sync {sync}: {obstacle}; take auto")
        return Choice(sync, f"weights.sync says {sync}")
    devices = f"learner on {facts.learner_device}, servers on {facts.server_device}"
    if facts.shared_gpus and facts.same_host:
        return Choice("tensor", "learner and servers share GPUs, where NCCL refuses two processes but handles work")
    if not _obstacle("collective", facts):
        backend = backend_of(facts.learner_device).upper()
        return Choice("collective", f"{devices}: one {backend} broadcast reaches all servers without a copy on disk")
    if not _obstacle("disk", facts):
        return Choice("disk", f"{devices}: {_obstacle('collective', facts)}, but both see the same folder")
    reason = f"{_obstacle('collective', facts)}, and no folder is shared, so the bytes go inside the requests"
    return Choice("tensor", f"{devices}: {reason}")


def _obstacle(name: str, facts: SyncFacts) -> str | None:
    if name == "disk" and not (facts.same_host or facts.shared_folder):
        return "the servers run on other hosts, which do not see the weights' folder"
    if name == "collective" and facts.learner_device != facts.server_device:
        return f"no broadcast goes from {facts.learner_device} (learner) to {facts.server_device} (servers)"
    if name == "collective" and facts.shared_gpus:
        return "NCCL refuses two processes on one GPU"
    if name == "collective" and facts.nccl_apart:
        return facts.nccl_apart
    return None


def backend_of(device: str) -> str:
    """torch.distributed's backend for a device."""
    return "nccl" if device == "cuda" else "gloo"


def build_transport(
    choice: Choice, facts: SyncFacts, folder: Path, sglang: SglangConfig, master: str = "127.0.0.1"
) -> Transport:
    """The chosen transport. `folder` is where files go; `master` the learner's address as the servers know it.

    A bucket may take as long as `sglang` lets a server hang, a whole model as long as a start.
    """
    if choice.name == "disk":
        return DiskTransport(folder, sglang.start_timeout_s)
    if choice.name == "collective":
        return CollectiveTransport(backend_of(facts.learner_device), master, sglang.hang_timeout_s)
    handles = facts.same_host and facts.learner_device == facts.server_device == "cuda"
    return TensorTransport(handles, sglang.hang_timeout_s)
