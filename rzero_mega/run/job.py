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

POLL_S = 0.2


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
    """The place that Slurm's environment of a step names; without Slurm, the only node of a job of its own."""
    if "SLURM_JOB_ID" not in environ or "SLURM_NODEID" not in environ:
        # Numbers of processes come back; a job's folder must be new.
        return JobPlace(f"local-{int(time.time())}-{os.getpid()}", 0, 0, 1, host)
    return JobPlace(
        job=environ["SLURM_JOB_ID"],
        restart=int(environ.get("SLURM_RESTART_COUNT", "0")),
        node=int(environ["SLURM_NODEID"]),
        nodes=int(environ.get("SLURM_STEP_NUM_NODES", environ.get("SLURM_NNODES", "1"))),
        name=environ.get("SLURMD_NODENAME", host),
    )


class JobFolder:
    """The folder of one attempt of a job. The first node writes, the others wait for it."""

    def __init__(self, run: Path, place: JobPlace) -> None:
        """Create the folder where it does not exist."""
        self.path = run / "jobs" / f"{place.job}-{place.restart}"
        self.path.mkdir(parents=True, exist_ok=True)
        self._failed_nodes = run / "jobs" / "failed_nodes"
        self._place = place

    def publish_leader(self, leader: Leader) -> str:
        """Say where the ranks meet; returns the key that this job's servers will ask for."""
        key = secrets.token_urlsafe(32)
        descriptor = os.open(self.path / "key", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key)
        write_json(self.path / "leader.json", asdict(leader))
        return key

    def find_leader(self, timeout_s: float, go_on: Callable[[], bool]) -> tuple[Leader, str]:
        """Wait for the first node's address and key. UserError if it is not there in time, or `go_on` says no."""
        path = self.path / "leader.json"
        _wait_for(path, timeout_s, go_on)
        found = read_json(path)
        try:
            return Leader(str(found["host"]), int(found["port"])), (self.path / "key").read_text()
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise UserError(f"{path}: malformed ({error!r}); remove {self.path}") from None

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

    def note_failed_node(self) -> None:
        """Remember that something died by itself on this node: later jobs of the run keep away from it."""
        with self._failed_nodes.open("a") as file:
            file.write(f"{self._place.name}\n")


def read_end(folder: Path) -> Ended | None:
    """The end of the job whose folder it is; None while it goes on, or where it was killed."""
    path = folder / "ended.json"
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        return Ended(int(found["code"]), str(found["why"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: malformed ({error!r}); remove it") from None


def failed_nodes(run: Path) -> list[str]:
    """Nodes on which something died by itself, in the order of the alphabet, each once."""
    path = run / "jobs" / "failed_nodes"
    lines = path.read_text().split() if path.is_file() else []
    return sorted({line for line in lines if re.fullmatch(r"[A-Za-z0-9_.-]+", line)})


def _wait_for(path: Path, timeout_s: float, go_on: Callable[[], bool]) -> None:
    deadline = time.monotonic() + timeout_s
    while not path.is_file():
        if not go_on() or time.monotonic() > deadline:
            raise UserError(f"{path}: the job's first node did not write it; see its log beside it")
        time.sleep(POLL_S)
