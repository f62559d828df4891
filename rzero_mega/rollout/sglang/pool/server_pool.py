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
from rzero_mega.activity import Activity
from rzero_mega.config.placement import Placement
from rzero_mega.config.schema import LoraConfig, RolloutConfig, WeightsConfig
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.sglang.nodes.job_files import JobNode
from rzero_mega.rollout.sglang.nodes.start import start_server
from rzero_mega.rollout.sglang.pool import turns
from rzero_mega.rollout.sglang.pool.choices import (
    adapter_arguments,
    check_nodes,
    deterministic_arguments,
    device_of_servers,
    quantization_scheme,
    sync_facts,
)
from rzero_mega.rollout.sglang.pool.engine import SglangEngine
from rzero_mega.rollout.sglang.pool.role_servers import RoleServers
from rzero_mega.rollout.sglang.pool.server_work import Nobody, Observer
from rzero_mega.rollout.sglang.pool.weight_sender import HandedFolders, WeightSender
from rzero_mega.rollout.sglang.server.address import own_ip
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.handle import ServerHandle
from rzero_mega.rollout.sglang.server.installation import servers_python
from rzero_mega.weights.hf_folder import dtype_named
from rzero_mega.weights.model_copy import link_model
from rzero_mega.weights.quantization.folder import write_quantized_folder
from rzero_mega.weights.quantization.scheme import Scheme
from rzero_mega.weights.shape import ModelShape, read_shape
from rzero_mega.weights.sources import FolderWeights
from rzero_mega.weights.transports.choice import Choice, SyncFacts, choose, senders
from rzero_mega.weights.transports.relay import Relay
from rzero_mega.weights.transports.select import build_transport

_log = logging.getLogger(__name__)


class ServerPool:
    """All servers of a run. Every rank holds one and makes the same calls; the first rank alone has `roles`."""

    def __init__(
        self,
        rollout: RolloutConfig,
        weights: WeightsConfig,
        placement: Placement,
        job: JobNode | None,
        logs: Path,
        observer: Observer | None = None,
        adapters: LoraConfig | None = None,
    ) -> None:
        """Nothing is started yet. `logs` is where servers write; what they do is told the `observer`.

        With `adapters` servers have room for those, beside the model that they were started on.

        UserError if there are places on other nodes without a `job` that has processes there.
        """
        spmd.on_rank_0(check_nodes, placement, job)
        self._rollout, self._weights, self._placement, self._job = rollout, weights, placement, job
        self._logs = logs
        self.observer = observer or Nobody()
        self._saves_memory, self._adapters = device_of_servers() == "cuda", adapters
        self._engines = 0
        self._sync, self._choice = spmd.on_rank_0(self._ways)
        self._senders = senders(self._choice.name, placement)
        self._relays: dict[str, Relay] = {}
        self.roles: dict[str, RoleServers] = {}
        self._sources: dict[str, FolderWeights] = {}
        # What servers were started on that nobody has waited for yet, the version that they are to say, and the
        # number of the engine whose first weights these are.
        self._first: dict[str, tuple[FolderWeights, str, int]] = {}

    def engine(self, role: str, model: Path, wait: bool = True) -> SglangEngine:
        """An engine that speaks for the model of the folder; the role's earlier engine must not be used any more.

        Servers that have to be started are ready when it returns, or without `wait` when it first needs them, or when
        others need their GPUs (`rest`).
        """
        self._engines += 1
        shape = read_shape(model)
        source = FolderWeights(model, shape, self._weights.bucket_bytes, self.senders)
        stop = tuple(sorted(stop_tokens(model)))
        context = self._rollout.sglang.context_length or shape.max_positions
        engine = SglangEngine(self, role, self._engines, source, shape, stop, context)
        self.make_room()
        spmd.on_rank_0(self._bring_up, role, source, context, engine.version.on_server)
        if wait:
            spmd.on_rank_0(self.await_first, role)
        return engine

    @property
    def senders(self) -> tuple[int, ...]:
        """The ranks that hand weights out, the first one among them."""
        return tuple(self._senders.values())

    def relay(self, role: str, shape: ModelShape) -> Relay:
        """By which a pass over weights of the shape goes to the role's servers, on every rank."""
        if role not in self._relays:
            scheme = quantization_scheme(self._rollout, self._weights, shape)
            self._relays[role] = Relay(self._senders, self._sync.handles, scheme)
        return self._relays[role]

    @property
    def hands_folders(self) -> bool:
        """Whether servers read a model that is a folder themselves; a broadcast is faster, and FP8 has to be made."""
        return self._choice.name != "collective" and self._weights.quantization == "none"

    def rest(self) -> None:
        """Before the learner needs its memory: have servers that share its GPUs give theirs back."""
        if self._placement.shared_gpus:
            spmd.on_rank_0(self._rest)

    def make_room(self) -> None:
        """Before servers take memory: wait until every rank has given up what it does not need."""
        if self._placement.shared_gpus:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            spmd.barrier()

    def take_turn(self, role: str, needed: frozenset[str] = turns.EVERYTHING) -> None:
        """On the first rank: see `turns.take_turn`."""
        with self.observer.measure(Activity.PARK):
            turns.take_turn(self.roles, role, needed, self._rollout.sglang.roles == "together")

    @property
    def apart(self) -> bool:
        """Whether servers take none of the learner's memory: they have GPUs of their own, or there are no GPUs."""
        return not (self._placement.shared_gpus and self._saves_memory)

    @property
    def together(self) -> bool:
        """Whether servers of both roles are awake at the same time. Without a memory saver none of them sleeps."""
        return self._rollout.sglang.roles == "together" or not self._saves_memory

    @property
    def takes_adapters(self) -> bool:
        """Whether adapters go to servers without the weights that they are added to."""
        return self._adapters is not None

    def close(self) -> None:
        """End all servers."""
        for servers in self.roles.values():
            servers.close()
        self.roles.clear()

    def _rest(self) -> None:
        with self.observer.measure(Activity.PARK):
            turns.rest(self.roles.values())

    def _bring_up(self, role: str, source: FolderWeights, context: int, version: str) -> None:
        """Start the role's servers on the source's folder; servers that run already will wait for its weights."""
        self._sources[role] = source
        if role in self.roles:
            self.await_first(role)
            self.roles[role].next_engine()
            return
        self.take_turn(role)
        relay = self.relay(role, source.shape)
        model = self._folder_for_servers(role, source, relay.scheme)
        spec = self._spec(model, context, version)
        sender = self._sender(role, spec, relay)
        start = partial(self._start, role, spec)
        servers = RoleServers(role, start, self._rollout.sglang, sender, self._saves_memory, self.observer)
        self.roles[role], self._first[role] = servers, (source, version, self._engines)

    def await_first(self, role: str) -> None:
        """On the first rank: once servers that were started are ready, have them serve the model that they loaded."""
        if role not in self._first:
            return
        source, version, engine = self._first.pop(role)
        servers = self.roles[role]
        self.take_turn(role, turns.WEIGHTS)
        servers.serve_first_weights(engine)
        if servers.sender.checksums_every:
            # A model that is never updated is checked here alone.
            loaded = [replica.client for replica in servers.serving()]
            with self.observer.measure(Activity.VERIFY):
                servers.sender.check_loaded(loaded, source, source.shape, version)

    def _start(self, role: str, spec: ServerSpec, number: int, attempt: int) -> ServerHandle:
        key = os.environ.get(self._rollout.sglang.api_key_env)
        place = self._placement.servers[number]
        if any(not file.exists() for file in spec.model.iterdir()):
            # The model that the role began with is no longer needed by the run, and was removed.
            self._folder_for_servers(role, self._sources[role], None)
        python = servers_python(self._rollout.sglang.python)
        return start_server(f"{role}-{number}", attempt, spec, place, self._logs, self._job, key, python)

    def _spec(self, model: Path, context: int, version: str) -> ServerSpec:
        sglang = self._rollout.sglang
        return ServerSpec(
            model=model,
            port=0,
            tp=sglang.tp,
            dtype=self._rollout.dtype,
            device=device_of_servers(),
            host=sglang.host,
            weight_version=version,
            max_running_requests=sglang.max_running_requests,
            max_total_tokens=sglang.max_total_tokens,
            context_length=context,
            memory_saver=True,
            extra_arguments=(
                *sglang.extra_arguments,
                *adapter_arguments(self._adapters),
                *deterministic_arguments(sglang),
            ),
        )

    def _ways(self) -> tuple[SyncFacts, Choice]:
        """How weights reach servers."""
        facts = sync_facts(self._placement, self._rollout)
        return facts, choose(self._weights.sync, facts)

    def _sender(self, role: str, spec: ServerSpec, relay: Relay) -> WeightSender:
        choice, ranks = self._choice, ", ".join(map(str, self.senders))
        several = f"; ranks {ranks} hand them out" if len(self.senders) > 1 else ""
        _log.info("%s: weights go by %s: %s%s", role, choice.name, choice.reason, several)
        folder = self._folder_of_updates(role, self._sync)
        sglang = self._rollout.sglang
        transport = build_transport(choice, self._sync, folder, sglang, self._master(spec), relay)
        every = self._weights.verify.checksums_every
        handed = HandedFolders(self._logs.absolute() / f"{role}-next", sglang.start_timeout_s)
        dtype, limit = dtype_named(self._rollout.dtype), sglang.hang_timeout_s
        return WeightSender(transport, relay.scheme, dtype, spec.tp, every, handed, limit)

    def _folder_of_updates(self, role: str, facts: SyncFacts) -> Path:
        """Where the disk transport writes: `weights.folder`, or for servers on other nodes a folder of the run's own.

        They loaded their first model from beside it. What a killed attempt left in the run's own is removed.
        """
        if self._weights.folder is None and not facts.same_host:
            folder = self._logs.absolute() / f"{role}-updates"
            shutil.rmtree(folder, ignore_errors=True)
            return folder
        name = f"rzero-weights-{socket.gethostname()}-{os.getpid()}-{role}"
        return Path(self._weights.folder or gettempdir()) / name

    def _master(self, spec: ServerSpec) -> str:
        """This machine's address as the servers know it."""
        node = 0 if self._job is None else self._job.node
        remote = any(place.node != node for place in self._placement.servers)
        return own_ip() if remote and not spec.on_loopback else "127.0.0.1"

    def _folder_for_servers(self, role: str, source: FolderWeights, scheme: Scheme | None) -> Path:
        """The source's model and nothing else, which SGLang might make something of.

        In FP8 where there is a scheme: a server whose weights are to be FP8 has to start with such weights.
        """
        folder = self._logs.absolute() / f"{role}-{'model' if scheme is None else scheme.name}"
        shutil.rmtree(folder, ignore_errors=True)
        if scheme is None:
            link_model(source.folder, folder)
        else:
            write_quantized_folder(folder, source, source.folder, scheme)
        return folder
