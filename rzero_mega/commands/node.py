"""What runs on each node of a job: the node's ranks of the learner, and the servers that are placed on it.

One supervisor per node. It starts the ranks, passes the scheduler's signals on to them, ends everything when the
learner ends or one of its ranks dies, and says in the job's folder how it went. What the job's phases left decides
about success: it ends with 0 if, and only if, the manifests of all of them are there.
"""

from __future__ import annotations

import codecs
import os
import re
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rzero_mega.coevolution.plan import iteration_plan
from rzero_mega.coevolution.stretch import Stretch
from rzero_mega.config import config_from_yaml
from rzero_mega.config.placement import Placement, placement_of
from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.nodes.job_files import JOB, NODE
from rzero_mega.rollout.sglang.server.installation import check_serving, learning, servers_python
from rzero_mega.run import PhaseDirectory, RunDirectory, run_path
from rzero_mega.run.job import Ended, JobFolder, JobPlace, Leader
from rzero_mega.run.launch import PEER_LOST_EXIT_CODE, RankGroup, log_of, meeting_in
from rzero_mega.run.stop import SIGNAL, StopRequest
from rzero_mega.scratch import temporary_folder
from rzero_mega.terminal import say

if TYPE_CHECKING:
    from rzero_mega.rollout.sglang.nodes.host import ServerHost

POLL_S = 0.2
ENDED_FROM_OUTSIDE = 128 + signal.SIGTERM
LEADER_TIMEOUT_S = 900.0
# Until another node's reason is there, through the caches of a network file system.
FAILURE_S = 10.0
LOG_TAIL_BYTES = 65_536
# Signals that are sent on purpose: by the scheduler, by a person, or by this program.
ASKED_FOR = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, SIGNAL)
HARDWARE = re.compile(r"uncorrectable ECC|fallen off the bus|CUDA error: (?:hardware|misaligned bus)|NVLink error")


def run_node(config_file: Path, stretch: Stretch, place: JobPlace) -> int:
    """Run this node's part of a stretch; returns the exit code: 0 if its phases are finished, 2 for a user error.

    UserError before anything is started if the job's nodes are not those that the configuration asks for.
    """
    config = config_from_yaml(config_file)
    phases = [
        PhaseDirectory(run_path(config), phase.iteration, phase.name) for phase in stretch.of(iteration_plan(config))
    ]
    placement = placement_of(config)
    if place.nodes != placement.nodes:
        raise UserError(f"placement.nodes: {placement.nodes}, but this job has {place.nodes} nodes; make the two equal")
    if _are_finished(phases):
        say(f"{stretch} · finished before")
        return 0
    code = _Supervisor(config, placement, place, _arguments(config_file, stretch)).run()
    if _are_finished(phases):
        return 0
    # A shell would take a negative code, that of a killed rank, for another one.
    return code if code > 0 else 1


def _are_finished(phases: Sequence[PhaseDirectory]) -> bool:
    return all(phase.manifest_path.is_file() for phase in phases)


def _arguments(config_file: Path, stretch: Stretch) -> list[str]:
    """Of the command that a rank is."""
    if stretch.phase is None:
        return ["run", str(config_file), f"--iteration={stretch.iteration}"]
    return ["phase", str(config_file), *stretch.words]


class _Supervisor:
    """One node's processes, from their start to their end."""

    def __init__(self, config: Config, placement: Placement, place: JobPlace, arguments: Sequence[str]) -> None:
        run = run_path(config)
        # Opened for reading: a configuration that is not the run's is refused here, before GPUs are taken.
        RunDirectory.create_or_open(run, config, writer=False)
        if any(server.node == place.node for server in placement.servers):
            serving = check_serving(servers_python(config.rollout.sglang.python))
            say(f"node {place.name}: learner: {learning()}; servers: {serving}")
        self._config, self._placement, self._place, self._arguments = config, placement, place, arguments
        self._ranks = placement.ranks[place.node]
        self._folder = JobFolder(run, place)
        self._stop = StopRequest()

    def run(self) -> int:
        """Until the learner has ended everywhere; the exit code of this node's part."""
        try:
            return self._run()
        except UserError as error:
            if self._first:
                self._folder.publish_end(Ended(2, str(error)))
            raise

    def _run(self) -> int:
        with ExitStack() as stack:
            meeting = self._meet(stack)
            ranks = self._start_ranks(stack, meeting)
            host = self._server_host(stack)
            echo = _Echo(log_of(self._folder.path, 0)) if self._first else None
            try:
                code = self._watch(ranks, host, echo)
            except KeyboardInterrupt:
                code = ENDED_FROM_OUTSIDE
                if ranks is not None:
                    ranks.end()
            if echo is not None:
                echo.show()
            if code != ENDED_FROM_OUTSIDE:
                self._note_death(ranks)
            if self._first:
                self._folder.publish_end(Ended(code, self._why(code, ranks)))
            elif code not in (0, ENDED_FROM_OUTSIDE, PEER_LOST_EXIT_CODE):
                self._folder.publish_failure(self._why(code, ranks))
            return code

    def _why(self, code: int, ranks: RankGroup | None) -> str:
        """One line about the end with this code; empty where all is well."""
        if code == ENDED_FROM_OUTSIDE:
            # The scheduler ends this node also when another one has failed.
            outside = "ended by the scheduler or by a person (SIGTERM); it goes on from the last checkpoint"
            return next(iter(self._folder.failures()), outside)
        death = ranks.first_death if ranks is not None else None
        said = death.why(f" on node {self._place.name}") if death is not None else ""
        said = said or (why_of(self._folder.path, self._ranks) if code else "")
        if death is not None and death.of_another:
            # The node of the rank that ended first, or stands still, is about to say why, and knows more.
            self._folder.await_failure(FAILURE_S)
            return next(iter(self._folder.failures()), said)
        return said

    @property
    def _first(self) -> bool:
        return self._place.node == 0

    def _meet(self, stack: ExitStack) -> dict[str, str]:
        """Where the ranks meet: a file on one node, a store on the first of several, found through the job's folder."""
        if self._placement.nodes == 1:
            meeting = meeting_in(stack.enter_context(temporary_folder("ranks")))
            key = self._folder.publish_leader(Leader("127.0.0.1", 0))
        else:
            leader, key = self._leader(stack)
            # The store is there already: no rank may make another.
            meeting = {"MASTER_ADDR": leader.host, "MASTER_PORT": str(leader.port)}
            meeting["TORCHELASTIC_USE_AGENT_STORE"] = "True"
        # The environment of this process, and so of all that it starts: servers ask for the key, rank 0 gives it.
        os.environ.setdefault(self._config.rollout.sglang.api_key_env, key)
        return meeting

    def _leader(self, stack: ExitStack) -> tuple[Leader, str]:
        if not self._first:
            return self._folder.find_leader(LEADER_TIMEOUT_S, lambda: not self._stop.requested)
        store = _tcp_store()
        stack.callback(lambda: store)  # it lives as long as the ranks
        leader = Leader(socket.gethostname(), int(store.port))
        return leader, self._folder.publish_leader(leader)

    def _start_ranks(self, stack: ExitStack, meeting: Mapping[str, str]) -> RankGroup | None:
        if not self._ranks:
            return None
        environment = {**meeting, JOB: str(self._folder.path), NODE: str(self._place.node)}
        world = self._config.learner.processes
        limit = self._config.learner.hang_timeout_s
        group = RankGroup(self._arguments, self._ranks, world, environment, self._folder.path, limit)
        return stack.enter_context(group)

    def _server_host(self, stack: ExitStack) -> ServerHost | None:
        """What starts servers here when rank 0 asks for them; rank 0 starts those of its own node itself."""
        if self._first or all(server.node != self._place.node for server in self._placement.servers):
            return None
        # Imported by those that need it: it brings torch, which takes a supervisor seconds and memory.
        from rzero_mega.rollout.sglang.nodes.host import ServerHost

        key = os.environ.get(self._config.rollout.sglang.api_key_env)
        python = servers_python(self._config.rollout.sglang.python)
        host = ServerHost(self._folder.path, self._place.node, key, python)
        stack.callback(host.close)
        return host

    def _watch(self, ranks: RankGroup | None, host: ServerHost | None, echo: _Echo | None) -> int:
        """Wait for this node's ranks to end, then for the first node's: until then others may need the servers here."""
        code: int | None = None if ranks is not None else 0
        while True:
            if ranks is not None and self._stop.take():
                ranks.signal(SIGNAL)
            if code is None and ranks is not None:
                code = ranks.poll()
            if code or (code == 0 and (self._first or self._folder.ended() is not None)):
                return code
            if host is not None:
                host.poll()
            if echo is not None:
                echo.show()
            time.sleep(POLL_S)

    def _note_death(self, ranks: RankGroup | None) -> None:
        """A rank that was killed, though nobody had asked, or that met broken hardware, puts its node on the list."""
        death = ranks.first_death if ranks is not None else None
        if death is None:
            return
        killed = (death.code < 0 and -death.code not in ASKED_FOR) or death.stopped_s is not None
        if killed or HARDWARE.search(_tail(log_of(self._folder.path, death.rank))):
            self._folder.note_failed_node()
            say(f"rank {death.rank} died on node {self._place.name} (code {death.code})")


class _Echo:
    """Shows what is added to a log: the job's own output is that of rank 0."""

    def __init__(self, log: Path) -> None:
        self._log, self._shown = log, 0
        # A character may be written in two parts.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def show(self) -> None:
        """Print what is new."""
        if not self._log.is_file():
            return
        with self._log.open("rb") as file:
            file.seek(self._shown)
            new = file.read()
        self._shown += len(new)
        say(self._decoder.decode(new), end="")


def why_of(folder: Path, ranks: Sequence[int]) -> str:
    """The line of these ranks' logs that best says why the job failed: a user error, else the last line."""
    lines = [line for rank in ranks for line in _tail(log_of(folder, rank)).splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("rzero-mega: ")]
    if ours:
        return ours[-1].removeprefix("rzero-mega: ")
    errors = [line for line in lines if re.match(r"[A-Za-z_.]+(?:Error|Exception|Interrupt)\b", line)]
    return (errors or lines or ["no rank has written anything"])[-1].strip()


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")


def _tcp_store() -> Any:
    """A store on a free port of this host. It listens on all interfaces: ranks on other nodes have to reach it."""
    import torch.distributed as dist

    return dist.TCPStore(  # type: ignore[attr-defined]
        "0.0.0.0", 0, is_master=True, wait_for_workers=False
    )
