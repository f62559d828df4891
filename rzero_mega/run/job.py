"""One job of a run, as its nodes see it: which node this is, and the folder in which the job's nodes find each other.

    RUN/jobs/<job id>-<restart>/
        leader.json     the first node's address and the port where the learner's ranks meet
        key             what servers and their clients know; only the owner may read it
        rank-0003.log   output of a rank
        node-0001.failure   why a node that is not the first failed
        ended.json      the first node is done: exit code and the line that says why
    RUN/jobs/failed_nodes   names of nodes on which something died by itself, one per line

The folder is on a file system that all nodes share; every file is written aside and renamed into place.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rzero_mega.atomic import read_json, write_json, write_text
from rzero_mega.errors import UserError
from rzero_mega.own_file import append_to, own_folder, read_secret, write_secret
from rzero_mega.records import typed

POLL_S = 0.2
# Of a file that says how a job ended.
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class JobPlace:
    """This node's place in its job. `restart` counts how often the scheduler has put the job back into the queue."""

    job: str
    restart: int
    node: int
    nodes: int
    name: str


@dataclass(frozen=True)
class Leader:
    """The first node: `host` is its address for the others, `port` where the learner's ranks meet."""

    host: str
    port: int


@dataclass(frozen=True)
class Ended:
    """How the job's first node ended: `code` 0 is well; `why` is one line, empty where nothing is wrong."""

    code: int
    why: str


def place_from(environ: Mapping[str, str], host: str) -> JobPlace:
    """The place that Slurm's environment of a step names; without Slurm, the only node of a job of its own.

    UserError names a variable that is no number, or a node past the job's last.
    """
    if "SLURM_JOB_ID" not in environ or "SLURM_NODEID" not in environ:
        return local_place(host)
    nodes = "SLURM_STEP_NUM_NODES" if "SLURM_STEP_NUM_NODES" in environ else "SLURM_NNODES"
    place = JobPlace(
        job=str(_number(environ, "SLURM_JOB_ID", 0)),
        restart=_number(environ, "SLURM_RESTART_COUNT", 0),
        node=_number(environ, "SLURM_NODEID", 0),
        nodes=_number(environ, nodes, 1),
        name=environ.get("SLURMD_NODENAME", host),
    )
    if place.node >= place.nodes:
        raise UserError(f"SLURM_NODEID: {place.node}, but {nodes} is {place.nodes}: no environment of a job's step")
    return place


def local_place(host: str) -> JobPlace:
    """The only node of a job that no scheduler knows; whatever an interactive session has left in the environment."""
    # Numbers of processes come back; a job's folder must be new.
    return JobPlace(f"local-{int(time.time())}-{os.getpid()}", 0, 0, 1, host)


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    value = environ.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise UserError(f"{name}: {value!r} is not a number: no environment of a job's step")
    return int(value)


class JobFolder:
    """The folder of one attempt of a job. The first node writes, the others wait for it."""

    def __init__(self, run: Path, place: JobPlace) -> None:
        """Create the folder where it does not exist; the run has one. UserError if others may have a hand in it."""
        jobs = run / "jobs"
        self.path = jobs / f"{place.job}-{place.restart}"
        own_folder(jobs)
        own_folder(self.path)
        self._failed_nodes = jobs / "failed_nodes"
        self._place = place

    def publish_leader(self, leader: Leader) -> str:
        """Say where the ranks meet; returns the key that this job's servers will ask for."""
        key = secrets.token_urlsafe(32)
        write_secret(self.path / "key", key)
        write_json(self.path / "leader.json", asdict(leader))
        return key

    def find_leader(self, timeout_s: float, go_on: Callable[[], bool]) -> tuple[Leader, str]:
        """Wait for the first node's address and key. UserError if it is not there in time, or `go_on` says no."""
        path = self.path / "leader.json"
        _wait_for(path, timeout_s, go_on)
        found = read_json(path)
        try:
            leader = Leader(typed(found["host"], str, "host"), typed(found["port"], int, "port"))
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: malformed ({error!r}); remove {self.path}") from None
        return leader, read_secret(self.path / "key")

    def publish_end(self, ended: Ended) -> None:
        """Tell the other nodes that the job is over, and how; the key is of no more use."""
        (self.path / "key").unlink(missing_ok=True)
        write_json(self.path / "ended.json", asdict(ended))

    def ended(self) -> Ended | None:
        """What the first node said at its end; None before."""
        return read_end(self.path)

    def publish_failure(self, why: str) -> None:
        """Tell the first node why this one failed: the scheduler ends that one next, without saying why."""
        write_text(self.path / f"node-{self._place.node:04d}.failure", why)

    def failures(self) -> list[str]:
        """What other nodes said of their failures."""
        return [path.read_text() for path in sorted(self.path.glob("node-*.failure"))]

    def await_failure(self, timeout_s: float) -> None:
        """Wait until another node has said why it failed, or for `timeout_s` seconds, where there are other nodes."""
        deadline = time.monotonic() + (timeout_s if self._place.nodes > 1 else 0.0)
        while not self.failures() and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def note_failed_node(self) -> None:
        """Remember that something died by itself on this node: later jobs of the run keep away from it."""
        with append_to(self._failed_nodes) as file:
            file.write(f"{self._place.name}\n".encode())


def read_end(folder: Path) -> Ended | None:
    """The end of the job whose folder it is; None while it goes on, or where it was killed."""
    path = folder / "ended.json"
    if path.is_symlink() or not path.is_file():
        return None
    found = read_json(path, MOST_BYTES)
    try:
        return Ended(typed(found["code"], int, "code"), typed(found["why"], str, "why"))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: malformed ({error!r}); remove it") from None


def failed_nodes(run: Path) -> list[str]:
    """Nodes on which something died by itself, in the order of the alphabet, each once."""
    path = run / "jobs" / "failed_nodes"
    lines = path.read_text(errors="replace").split() if path.is_file() else []
    return sorted({line for line in lines if re.fullmatch(r"[A-Za-z0-9_.-]+", line)})


def _wait_for(path: Path, timeout_s: float, go_on: Callable[[], bool]) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.is_file():
        if not go_on() or time.monotonic() > deadline:
            raise UserError(f"{path}: the job's first node did not write it; see its log beside it")
        time.sleep(POLL_S)
