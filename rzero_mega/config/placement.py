"""Which process runs where: places of a job's nodes for the learner's ranks and for servers. Pure arithmetic.

A place is one GPU of one node, or room for one process where there are no GPUs. Places are numbered through the nodes:
place `p` is GPU `p % gpus_per_node` of node `p // gpus_per_node`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError


@dataclass(frozen=True)
class ServerPlace:
    """One server: it runs on `node` (counted from 0) and on the GPUs `first_gpu` … `first_gpu + tp - 1` of it."""

    node: int
    first_gpu: int


@dataclass(frozen=True)
class Placement:
    """Where everything of a job runs. `ranks[n]` are the learner's ranks on node n; servers are those of each role."""

    nodes: int
    ranks: tuple[range, ...]
    servers: tuple[ServerPlace, ...]
    shared_gpus: bool


def placement_of(config: Config) -> Placement:
    """The placement that a configuration asks for; UserError names the key if the nodes have no room for it."""
    nodes, per_node = config.placement.nodes, config.placement.gpus_per_node
    processes = config.learner.processes
    if processes > nodes * per_node:
        raise UserError(
            f"learner.processes: {processes} processes do not fit on {nodes} x {per_node} GPUs (placement.nodes x "
            "placement.gpus_per_node); raise the one or lower the other"
        )
    ranks = tuple(range(min(n * per_node, processes), min((n + 1) * per_node, processes)) for n in range(nodes))
    if config.rollout.engine != "sglang":
        return Placement(nodes, ranks, (), shared_gpus=False)
    colocated = config.placement.servers == "colocated"
    free = [range(len(here)) if colocated else range(len(here), per_node) for here in ranks]
    return Placement(nodes, ranks, _servers(config, free), shared_gpus=colocated)


def on_one_machine(config: Config) -> Placement:
    """The placement on one machine without GPUs: it has room for any number of processes, and all share it."""
    ranks = (range(config.learner.processes),)
    if config.rollout.engine != "sglang":
        return Placement(1, ranks, (), shared_gpus=False)
    servers = (ServerPlace(0, 0),) * config.rollout.sglang.replicas
    return Placement(1, ranks, servers, shared_gpus=config.placement.servers == "colocated")


def _servers(config: Config, free: list[range]) -> tuple[ServerPlace, ...]:
    """The first `replicas` places for servers; none spreads over two nodes."""
    sglang, mode = config.rollout.sglang, config.placement.servers
    places = [
        ServerPlace(node, start)
        for node, gpus in enumerate(free)
        for start in range(gpus.start, gpus.stop - sglang.tp + 1, sglang.tp)
    ]
    if len(places) < sglang.replicas:
        raise UserError(
            f"rollout.sglang.replicas: {sglang.replicas} {mode} servers of tp {sglang.tp} do not fit: there is room "
            f"for {len(places)} on placement.nodes {config.placement.nodes} x placement.gpus_per_node "
            f"{config.placement.gpus_per_node} beside learner.processes {config.learner.processes}"
        )
    return tuple(places[: sglang.replicas])
