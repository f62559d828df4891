"""A server is started on its place: by this process on its own node, through files on another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rzero_mega.config.placement import ServerPlace
from rzero_mega.rollout.sglang.nodes.job_files import JobNode, ServerFiles, node_folder
from rzero_mega.rollout.sglang.nodes.remote import RemoteServer
from rzero_mega.rollout.sglang.server.command import ServerSpec
from rzero_mega.rollout.sglang.server.handle import ServerHandle
from rzero_mega.rollout.sglang.server.process import ServerProcess


def start_server(
    name: str,
    attempt: int,
    spec: ServerSpec,
    place: ServerPlace,
    logs: Path,
    job: JobNode | None,
    api_key: str | None,
    python: Path | None = None,
) -> ServerHandle:
    """Start a server on `place` for the `attempt`-th time, and return at once. `name` is such as `solver-0`.

    The specification's port is 0: the server takes a free one. Its address is published in the job's folder, or beside
    the `logs` where there is no job. `python` runs it here; another node takes its own configuration's.
    """
    spec = replace(spec, first_gpu=place.first_gpu)
    folder = logs if job is None else node_folder(job.folder, place.node)
    files = ServerFiles(folder, f"{name}-a{attempt}")
    if job is not None and place.node != job.node:
        return RemoteServer.start(spec, files, place.node, api_key)
    return ServerProcess.start(spec, logs / f"{name}.log", api_key, files.address, python)
