"""Seconds of what neither draws nor trains, as the code does it today. What it no longer does goes from here too."""

from __future__ import annotations

import math
from dataclasses import replace

from rzero_mega.planning.parameters import rank_parameters
from rzero_mega.simulation.sending import sending
from rzero_mega.simulation.site import Site
from rzero_mega.weights.shard_bytes import SHARD_BYTES

# Bytes of a parameter that trains: fp32 weights and two moments; in a checkpoint its weights in bf16 as well.
STATE_BYTES = 3 * 4
CHECKPOINT_BYTES = 2 + STATE_BYTES
# What a learner puts aside for servers on its GPUs (`learner.offload`): bytes of a parameter that trains, and of any in
# bf16; gradients are dropped.
OFFLOADED_BYTES = {"none": (0, 0), "optimizer": (STATE_BYTES, 0), "all": (STATE_BYTES, 2)}


def servers_start(site: Site) -> float:
    """Of a role's servers, until they are ready and what they loaded is compared with the folder (`_bring_up`)."""
    costs = site.assumptions.costs
    start = costs.server_start_s + site.weight_bytes / costs.model_read_bytes_s
    if site.config.weights.verify.checksums_every and site.config.weights.quantization == "none":
        start += site.weight_bytes / costs.device_to_host_bytes_s + site.weight_bytes / costs.gpu_hash_bytes_s
    return start


def learner_start(site: Site) -> float:
    """Until the learner has the weights."""
    return site.assumptions.costs.learner_start_s + site.weight_bytes / site.assumptions.costs.model_read_bytes_s


def send(site: Site) -> float:
    """New weights, or adapters, on their way to all servers of a role."""
    return sending(site).seconds(site)


def hashing(site: Site, updates: int) -> float:
    """Of so many updates: every tensor hashed on the first rank's GPU; nothing where weights are sent in FP8.

    Of adapters by the first rank's CPU.
    """
    costs = site.assumptions.costs
    rate = costs.hash_bytes_s if site.sends_adapters else costs.gpu_hash_bytes_s
    every = site.config.weights.verify.checksums_every
    hashed = len(range(0, updates, every)) if every and site.config.weights.quantization == "none" else 0
    return hashed * site.sent_bytes / rate


def probes(site: Site, steps: int) -> float:
    """Of so many steps: a few rollouts scored on both sides before a step trains."""
    every = site.config.weights.verify.probe_every
    return len(range(0, steps, every)) * site.assumptions.costs.probe_s if every else 0.0


def turn(site: Site, roles: float = 1.0) -> float:
    """One role gives up its GPUs and another takes them; `roles` may be less than both ways of one."""
    costs = site.assumptions.costs
    one_way = costs.turn_fixed_s + site.weight_bytes / site.config.rollout.sglang.tp / costs.turn_bytes_s
    return 2 * roles * one_way


def parking(site: Site) -> float:
    """The learner gives up its memory for servers on its GPUs, and takes it back."""
    costs, learner = site.assumptions.costs, site.config.learner
    states, weights = OFFLOADED_BYTES[learner.offload]
    nbytes = (states * site.trained + weights * site.parameters) / learner.processes
    return 2 * (costs.turn_fixed_s + nbytes / costs.turn_bytes_s) if nbytes and site.colocated else 0.0


def critic_moves(site: Site) -> float:
    """A Critic's weights to the learner's GPUs before it scores, and back to host memory."""
    held = rank_parameters(replace(site.shape, scores=1), site.candidate.layout, 0)
    nbytes = (held.dense + held.experts) * (4 if site.config.learner.dtype == "float32" else 2)
    return 2 * nbytes / site.assumptions.costs.turn_bytes_s


def checkpoints(site: Site, steps: int, step_s: float) -> float:
    """Of a phase's steps of so many seconds each, and of the last one's writing, which the phase waits for."""
    costs, config = site.assumptions.costs, site.config.learner.checkpoint
    if not steps:
        return 0.0
    held = CHECKPOINT_BYTES * site.trained
    write = held / costs.checkpoint_write_bytes_s
    copy = costs.checkpoint_passes * held / site.config.learner.processes / costs.checkpoint_copy_bytes_s
    in_step = copy if config.asynchronous else copy + write
    if config.every is None:
        # The next one is begun once what one costs is that share of the time, and it is on disk. No whole number of
        # steps on average: with one, what is faster might come out slower.
        apart = max(in_step / config.share - in_step, write) if config.share else math.inf
        begun = 1 + (steps - 1) / max(1.0, apart / step_s)
        return begun * in_step + (write if config.asynchronous else 0.0)
    begun = -(-steps // config.every)
    # The next one waits until this one is written.
    waits = write if not config.asynchronous else max(0.0, write - config.every * step_s)
    return begun * copy + (begun - 1) * waits + write


def model_folder(site: Site) -> float:
    """A phase's model, written and hashed by all ranks, each some of its files, and hashed by all who read it next.

    The file system takes no more from all of them than checkpoints get.
    """
    costs, processes = site.assumptions.costs, site.config.learner.processes
    files = -(-site.weight_bytes // SHARD_BYTES)
    most = min(site.weight_bytes, -(-files // processes) * SHARD_BYTES)
    written = max(most / costs.model_write_bytes_s, site.weight_bytes / costs.checkpoint_write_bytes_s)
    return written + most / costs.hash_bytes_s + site.weight_bytes / costs.hash_bytes_s / processes
