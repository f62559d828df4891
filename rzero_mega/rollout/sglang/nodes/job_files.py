"""The files by which a job's first rank asks other nodes for servers: requests, withdrawals and addresses.

They lie in a folder on a file system that all nodes share, one folder below it for each node. Files are written once,
aside, and renamed, since network file systems show changes late. The folder belongs to one start of a job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rzero_mega.errors import UserError
from rzero_mega.rollout.sglang.server.command import ServerSpec

# What the supervisor of a node tells the processes that it starts.
JOB, NODE = "RZERO_MEGA_JOB", "RZERO_MEGA_NODE"
REQUEST, STOP = ".request.json", ".stop"
NAME = re.compile(r"[a-z]+-\d+-a\d+")


@dataclass(frozen=True)
class JobNode:
    """The node of a job that this process runs on, and the job's folder for its servers' files."""

    folder: Path
    node: int


def job_node_from(environ: Mapping[str, str]) -> JobNode | None:
    """The node that the environment names; None outside of a job. UserError names a variable that is wrong."""
    folder = environ.get(JOB)
    if not folder:
        return None
    node = environ.get(NODE, "")
    if not node.isdecimal():
        raise UserError(f"{NODE}: {node!r} is not the number of a node; it is set together with {JOB}")
    if not Path(folder).is_dir():
        raise UserError(f"{JOB}: {folder} is not a folder that this node sees; put run.root on a shared file system")
    return JobNode(Path(folder).absolute(), int(node))


def node_folder(folder: Path, node: int) -> Path:
    """The folder with the files of a node's servers."""
    return folder / f"node{node:04d}"


@dataclass(frozen=True)
class ServerFiles:
    """The files of one server. `name` is role, number and attempt, such as `solver-0-a1`."""

    folder: Path
    name: str

    @property
    def request(self) -> Path:
        """Asks for the server: its specification."""
        return self.folder / f"{self.name}{REQUEST}"

    @property
    def stop(self) -> Path:
        """Asks for its end."""
        return self.folder / f"{self.name}{STOP}"

    @property
    def address(self) -> Path:
        """Says where and in what state it is."""
        return self.folder / f"{self.name}.address.json"

    @property
    def log(self) -> Path:
        """Its output."""
        return self.folder / f"{self.name}.log"


def request_of(spec: ServerSpec) -> dict[str, Any]:
    """The content of a request for a server."""
    return {**asdict(spec), "model": str(spec.model.absolute()), "extra_arguments": list(spec.extra_arguments)}


def spec_of(request: Any) -> ServerSpec:
    """The server that a request asks for; UserError names what is wrong with it. Nothing in it is taken on trust."""
    names = {field.name for field in fields(ServerSpec)}
    if not isinstance(request, dict) or request.keys() != names:
        given = set(request) if isinstance(request, dict) else set()
        raise UserError(f"request for a server: unknown or missing fields {sorted(map(str, given ^ names))}")
    for name, (what, fits) in _FIELDS.items():
        if not fits(request[name]):
            raise UserError(f"request for a server: {name} is not {what}")
    return ServerSpec(
        **{**request, "model": Path(request["model"]), "extra_arguments": tuple(request["extra_arguments"])}
    )


def _whole(value: Any, low: int, high: int = 1 << 31) -> bool:
    return type(value) is int and low <= value <= high


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_folder(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and Path(value).is_absolute() and Path(value).is_dir()


def _are_arguments(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item.isprintable() for item in value)


_FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "model": ("the full path of a folder that this node sees", _is_folder),
    "port": ("0, for any free port", lambda value: _whole(value, 0, 0)),
    "tp": ("a number of processes", lambda value: _whole(value, 1)),
    "dtype": ("bfloat16 or float32", _matches("bfloat16|float32")),
    "device": ("cpu or cuda", _matches("cpu|cuda")),
    "host": ("an address to listen on", _matches(r"[0-9A-Za-z:][0-9A-Za-z.:-]*")),
    "weight_version": ("a version", _matches(r"\w[\w.-]*")),
    "max_running_requests": ("a number of requests", lambda value: _whole(value, 1)),
    "max_total_tokens": ("a number of tokens or null", lambda value: value is None or _whole(value, 1)),
    "context_length": ("a number of tokens or null", lambda value: value is None or _whole(value, 1)),
    "first_gpu": ("the number of a GPU", lambda value: _whole(value, 0)),
    "memory_saver": ("true or false", lambda value: type(value) is bool),
    "extra_arguments": ("a list of printable arguments", _are_arguments),
}
