"""Which transport: the one that the user names, or the fastest that can work here. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.config.placement import Placement
from rzero_mega.errors import UserError


@dataclass(frozen=True)
class SyncFacts:
    """Where weights come from and go to. Devices are "cpu" or "cuda"."""

    learner_device: str
    server_device: str
    same_host: bool
    shared_gpus: bool = False
    """The servers run on GPUs that the learner uses too."""
    nccl_apart: str = ""
    """Why NCCL joins no group of the learner's and the servers' processes: it refuses another release than its own."""

    @property
    def handles(self) -> bool:
        """Whether a rank of the learner can hand its GPU's memory to the servers beside it, and has all of them so."""
        on_gpus = self.learner_device == self.server_device == "cuda"
        return on_gpus and (self.same_host or self.shared_gpus)


@dataclass(frozen=True)
class Choice:
    """A transport and why, a sentence for the log."""

    name: str
    reason: str


def choose(sync: str, facts: SyncFacts) -> Choice:
    """The transport for `weights.sync`; UserError if the one that the user names cannot work."""
    obstacle = _no_broadcast(facts)
    if sync == "collective" and obstacle:
        raise UserError(f"weights.sync {sync}: {obstacle}; take auto")
    if sync != "auto":
        return Choice(sync, f"weights.sync says {sync}")
    devices = f"learner on {facts.learner_device}, servers on {facts.server_device}"
    if facts.shared_gpus:
        return Choice("tensor", "learner and servers share GPUs, where NCCL refuses two processes but handles work")
    if obstacle:
        return Choice("disk", f"{devices}: {obstacle}, but all see the same folder")
    backend = backend_of(facts.learner_device).upper()
    return Choice("collective", f"{devices}: one {backend} broadcast reaches all servers without a copy on disk")


def senders(transport: str, placement: Placement) -> dict[int, int]:
    """Which rank hands weights out on which node: one beside the servers of each, where handles may be what is sent.

    Elsewhere it is the first rank alone, whatever the node.
    """
    if transport != "tensor" or not placement.shared_gpus:
        return {0: 0}
    return {0: 0} | {place.node: placement.ranks[place.node].start for place in placement.servers}


def _no_broadcast(facts: SyncFacts) -> str:
    """Why no process group can have the learner and the servers; "" if one can."""
    if facts.learner_device != facts.server_device:
        return f"no broadcast goes from {facts.learner_device} (learner) to {facts.server_device} (servers)"
    if facts.shared_gpus:
        return "NCCL refuses two processes on one GPU"
    return facts.nccl_apart


def backend_of(device: str) -> str:
    """torch.distributed's backend for a device."""
    return "nccl" if device == "cuda" else "gloo"
