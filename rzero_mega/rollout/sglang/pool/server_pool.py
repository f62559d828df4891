"""The servers of a run, by role: started when a role first speaks, kept over phases, updated to other weights."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from functools import partial
from pathlib import Path
from tempfile import gettempdir

import torch

from rzero_mega import spmd
from rzero_mega.config.placement import Placement, on_one_machine, placement_of
from rzero_mega.config.schema import Config, RolloutConfig, WeightsConfig
from rzero_mega.errors import UserError
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.sglang.nodes.address import own_ip
from rzero_mega.rollout.sglang.nodes.job_files import JobServers
from rzero_mega.rollout.sglang.nodes.launcher import Launcher
from rzero_mega.rollout.sglang.pool.engine import ServedModel, ServerLink, SglangEngine
from rzero_mega.rollout.sglang.pool.replicas import Replicas, State
from rzero_mega.rollout.sglang.pool.turns import Turns
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.process import check_startable
from rzero_mega.weights.hf_folder import dtype_named
from rzero_mega.weights.mapping import entries, hf_sizes
from rzero_mega.weights.quantization.folder import write_quantized_folder
from rzero_mega.weights.quantization.scheme import SCHEMES, Scheme
from rzero_mega.weights.quantization.server_limits import TargetServer, check_servable
from rzero_mega.weights.shape import ModelShape, read_shape
from rzero_mega.weights.sources import FolderWeights
from rzero_mega.weights.transports.select import SyncFacts, build_transport, choose
from rzero_mega.weights.verification.checksums import ExpectedChecksums

_log = logging.getLogger(__name__)


class ServerPool:
    """Servers of every role. All ranks hold one and make the same calls; servers and threads are the first rank's."""

    def __init__(
        self,
        rollout: RolloutConfig,
        weights: WeightsConfig,
        placement: Placement,
        job: JobServers | None,
        logs: Path,
    ) -> None:
        """Nothing is started yet. `logs` is where servers write.

        UserError if there are places on other nodes without a `job` that has processes there.
        """
        spmd.on_rank_0(check_nodes, placement, job)
        self._rollout, self._weights, self._placement, self._job = rollout, weights, placement, job
        self._logs = logs
        self._links: dict[str, ServerLink] = {}
        self._turns = Turns(saver=device_of_servers() == "cuda")
        self._engines = 0

    def engine(self, role: str, model: Path) -> SglangEngine:
        """An engine that speaks for the model of the folder; the role's earlier engine must not be used any more."""
        self._engines += 1
        number = self._engines

        def name(version: int) -> str:
            return f"{role}-{number}-{version}"

        shape = read_shape(model)
        source = FolderWeights(model, shape, self._weights.bucket_bytes)
        stop = tuple(sorted(stop_tokens(model)))
        context = self._rollout.sglang.context_length or shape.max_positions
        served = ServedModel(shape, stop, context, self._rollout.dtype)
        self._make_room()
        spmd.on_rank_0(self._bring_up, role, source, context, name(0))
        return SglangEngine(served, self._links.get(role), source, name, self._make_room)

    def rest(self) -> None:
        """Before the learner needs its memory: have servers that share its GPUs give theirs back."""
        if self._placement.shared_gpus:
            spmd.on_rank_0(self._turns.rest)

    def _make_room(self) -> None:
        """Before servers take memory: wait until every rank has given up what it does not need."""
        if self._placement.shared_gpus:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            spmd.barrier()

    def close(self) -> None:
        """End all servers."""
        for link in self._links.values():
            link.transport.close()
            link.replicas.stop()
        self._links.clear()

    def _bring_up(self, role: str, source: FolderWeights, context: int, version: str) -> None:
        """Start the role's servers on the source's folder; servers that run already will wait for its weights."""
        if role in self._links:
            for replica in self._links[role].replicas.serving():
                replica.state = State.WAITING
            return
        self._turns.take(role)
        device, facts = device_of_servers(), sync_facts(self._placement, self._weights)
        choice = choose(self._weights.sync, facts)
        _log.info("%s: weights go by %s: %s", role, choice.name, choice.reason)
        folder = Path(self._weights.folder or gettempdir())
        folder /= f"rzero-weights-{socket.gethostname()}-{os.getpid()}-{role}"
        scheme = quantization_scheme(self._rollout, self._weights, source.shape)
        model = source.folder if scheme is None else self._quantized(role, source, scheme)
        sglang = self._rollout.sglang
        key = os.environ.get(sglang.api_key_env)
        spec = self._spec(model, device, context, version)
        launcher = Launcher(role, spec, self._placement.servers, self._logs, self._job, key)
        replicas = Replicas(role, launcher.start, sglang)
        self._turns.join(role, replicas)
        self._links[role] = ServerLink(
            replicas=replicas,
            take=partial(self._turns.take, role),
            transport=build_transport(choice, facts, folder, self._master(spec)),
            scheme=scheme,
            tp=sglang.tp,
            attempts=sglang.attempts,
            verify=self._weights.verify,
        )
        self._links[role].replicas.serve_first_weights()
        if self._weights.verify.checksums_every and scheme is None:
            self._check_first_weights(self._links[role], source, version)

    def _check_first_weights(self, link: ServerLink, source: FolderWeights, version: str) -> None:
        """Compare what servers loaded with the folder: a model that is never updated is checked here alone."""
        expected = ExpectedChecksums(source.shape, link.tp, dtype_named(self._rollout.dtype))
        for _ in expected.watch(source):
            pass
        for replica in link.replicas.serving():
            link.check(replica.client, expected, version)

    def _spec(self, model: Path, device: str, context: int, version: str) -> ServerSpec:
        sglang = self._rollout.sglang
        return ServerSpec(
            model=model,
            port=0,
            tp=sglang.tp,
            dtype=self._rollout.dtype,
            device=device,
            host=sglang.host,
            weight_version=version,
            max_running_requests=sglang.max_running_requests,
            max_total_tokens=sglang.max_total_tokens,
            context_length=context,
            memory_saver=True,
            extra_arguments=tuple(sglang.extra_arguments),
        )

    def _master(self, spec: ServerSpec) -> str:
        """This machine's address as the servers know it."""
        node = 0 if self._job is None else self._job.node
        remote = any(place.node != node for place in self._placement.servers)
        return own_ip() if remote and not spec.on_loopback else "127.0.0.1"

    def _quantized(self, role: str, source: FolderWeights, scheme: Scheme) -> Path:
        """The source's folder in FP8: a server whose weights are to be FP8 has to start with such weights."""
        folder = self._logs / f"{role}-{scheme.name}"
        shutil.rmtree(folder, ignore_errors=True)
        write_quantized_folder(folder, source, source.folder, scheme)
        return folder


def device_of_servers() -> str:
    """ "cuda" where there are GPUs, "cpu" elsewhere."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_nodes(placement: Placement, job: JobServers | None) -> None:
    """UserError if there are servers on other nodes, and no job that has processes there."""
    if job is None and any(place.node for place in placement.servers):
        raise UserError("placement.nodes: servers on several nodes need a job; `rzero-mega submit` makes one")


def placement_here(config: Config) -> Placement:
    """The configuration's placement; without GPUs one node has room for any number of servers."""
    if device_of_servers() == "cuda" or config.placement.nodes > 1:
        return placement_of(config)
    return on_one_machine(config)


def sync_facts(placement: Placement, weights: WeightsConfig) -> SyncFacts:
    """Servers run on the learner's kind of device; the first rank, which sends weights, is on node 0."""
    device = device_of_servers()
    return SyncFacts(
        learner_device=device,
        server_device=device,
        same_host=all(place.node == 0 for place in placement.servers),
        shared_gpus=placement.shared_gpus and device == "cuda",
        shared_folder=weights.folder is not None,
    )


def quantization_scheme(rollout: RolloutConfig, weights: WeightsConfig, shape: ModelShape) -> Scheme | None:
    """The FP8 scheme of `weights.quantization`; UserError lists what keeps the servers from serving it."""
    if weights.quantization == "none":
        return None
    scheme = SCHEMES[weights.quantization]
    server = TargetServer(rollout.sglang.tp, device_of_servers(), rollout.dtype, updates=True)
    check_servable(scheme, hf_sizes(entries(shape)).items(), shape.kv_heads, server)
    return scheme


def check_servers(config: Config, shape: ModelShape) -> None:
    """UserError for what would keep servers from starting, or weights from reaching them; starts nothing."""
    sglang = config.rollout.sglang
    check_startable(sglang.host, os.environ.get(sglang.api_key_env))
    choose(config.weights.sync, sync_facts(placement_here(config), config.weights))
    quantization_scheme(config.rollout, config.weights, shape)
