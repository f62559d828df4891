"""One SGLang server on this machine: started, watched, and ended without leaving anything behind."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from rzero_mega.config.schema import SglangConfig
from rzero_mega.errors import UserError, first_line
from rzero_mega.lifetime import environment_of_child
from rzero_mega.own_file import append_to
from rzero_mega.rollout.sglang.server.address import Address, ServerState, public_url
from rzero_mega.rollout.sglang.server.client import SglangClient
from rzero_mega.rollout.sglang.server.command import API_KEY, LOOPBACK, ServerSpec, server_arguments, server_environment
from rzero_mega.rollout.sglang.server.installation import Installation, check_serving, environment_for, this_python
from rzero_mega.rollout.sglang.server.server_log import decisive_line, error_line
from rzero_mega.rollout.sglang.server.shared_memory import shared_files
from rzero_mega.scratch import make_folder, note_elsewhere

POLL_S = 0.25
READY_S = 5.0
PROGRAM = Path(__file__).with_name("serve.py")
END_S = 20.0


class ServerProcess:
    """A `ServerHandle` of one server and everything it started. Made by `start`.

    The server leads a process group of its own: an interrupt at the terminal does not reach it before we stop it, and
    all that it starts can be found after its death.
    """

    def __init__(
        self,
        spec: ServerSpec,
        log: Path,
        api_key: str,
        address: Path | None,
        folder: Path,
        python: Path,
        environment: dict[str, str],
    ) -> None:
        """For `start`. `folder` is the server's temporary folder."""
        self._held_port = hold_port(spec.host, spec.port)
        self.spec = replace(spec, port=self._held_port.getsockname()[1])
        self.log = log
        self._api_key, self._address = api_key, address
        self._folder = folder
        self._shared: set[Path] = set()
        self._state: ServerState | None = None
        self._why_ended: str | None = None
        self._logged_until_ready = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        with append_to(log) as output:
            self._log_start = output.tell()
            self._child = subprocess.Popen(
                [str(python), "-P", str(PROGRAM), *server_arguments(self.spec)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @classmethod
    def start(
        cls,
        spec: ServerSpec,
        log: Path,
        api_key: str | None = None,
        address: Path | None = None,
        python: Path | None = None,
    ) -> ServerProcess:
        """Start the server and return at once; its output is added to `log`. Port 0 stands for any free one.

        `python` is the interpreter of the environment with SGLang; None: that of this process. The server's state is
        published in the file `address` whenever it is seen to change. To be called from the main thread, since the
        server dies with the thread that started it. Without `api_key` the server gets one that nobody but this object's
        clients knows: whoever has an account on the machine can reach the loopback interface. UserError if `python` has
        no SGLang, if the port is taken, or if other machines could reach the server and there is no key.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("servers are started from the main thread: they die with the thread that started them")
        python = python or this_python()
        check_startable(spec.host, api_key, python)
        folder = make_folder("sglang")
        environment = environment_of_child(server_environment(spec, environment_for(python, os.environ)))
        # SGLang never removes its sockets and lock files, so each server has a folder of its own for them.
        environment["TMPDIR"] = str(folder)
        api_key = api_key or secrets.token_urlsafe(32)
        environment[API_KEY] = api_key
        try:
            server = cls(spec, log, api_key, address, folder, python, environment)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        try:
            server._publish("starting")
        except BaseException:
            server._end()
            raise
        return server

    @property
    def where(self) -> str:
        """Base address."""
        return self.spec.url

    @property
    def state(self) -> ServerState | None:
        """What was seen of it last; None at the very beginning."""
        return self._state

    @property
    def pid(self) -> int:
        """Its main process."""
        return self._child.pid

    def client(self, name: str = "SGLang server", timeout_s: float = SglangConfig.hang_timeout_s) -> SglangClient:
        """A client of this server."""
        return SglangClient(name, self.spec.url, self.spec.tp, self._api_key, timeout_s)

    def wait_ready(self, timeout_s: float) -> None:
        """Return when the server takes requests. UserError if it dies first, or does not get there in time."""
        deadline = time.monotonic() + timeout_s
        while not self.ready():
            if not self.alive():
                raise self._failed("did not start")
            if time.monotonic() > deadline:
                raise self._failed(f"was not ready after {timeout_s:g} s (rollout.sglang.start_timeout_s)")
            time.sleep(POLL_S)

    def ready(self) -> bool:
        """Whether the server takes requests now."""
        client = self.client()
        try:
            ready = self._listens() and client.ready(READY_S)
        finally:
            client.close()
        self._note_files()
        if ready:
            self._logged_until_ready = self._logged_until_ready or len(self._output())
            self._held_port.close()
            self._publish("ready")
        return ready

    def alive(self) -> bool:
        """Whether the server's main process runs."""
        # Not poll(): a process that has been waited for gives its number, and its group's, to the next one.
        try:
            return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def pids(self) -> list[int]:
        """All processes of the server that live, its main process first."""
        return [process.pid for process in self._processes()]

    def reason(self) -> str:
        """How the server ended and the line of its log that says why; of a start, the most telling line of the log.

        What it logged until it was ready says nothing of its death later.
        """
        if self._why_ended is not None:
            return self._why_ended
        how = self._how_ended()
        if how is None:
            return decisive_line(self._output())
        error = error_line(self._output()[self._logged_until_ready :])
        if error is None and self._logged_until_ready == 0 and not how.startswith("was killed"):
            return decisive_line(self._output())
        return f"{how}: {error}" if error else how

    def _how_ended(self) -> str | None:
        """The signal or exit code of the main process; None while it runs."""
        try:
            end = os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return "ended"
        if end is None:
            return None
        if end.si_code == os.CLD_EXITED:
            return f"ended with exit code {end.si_status}"
        return f"was killed by {signal.Signals(end.si_status).name}"

    def stop(self) -> None:
        """Kill every process of the server and remove its files. Can be called again.

        At once: told to end, a server takes ten seconds to finish its requests, also if there are none.
        """
        if self._why_ended is None:
            reason = "was told to end" if self.alive() else self.reason()
            self._end()
            self._why_ended = reason
        self._publish("ended", self._why_ended)

    def _end(self) -> None:
        self._held_port.close()
        self._note_files()
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        ended = _until(lambda: not self._processes(), END_S)
        for file in self._shared:
            file.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        if not ended:
            raise UserError(
                f"processes {self.pids()} of the SGLang server at {self.where} can't be killed; see to them"
            )
        self._child.wait()

    def _publish(self, state: ServerState, reason: str | None = None) -> None:
        if state == self._state:
            return
        if self._address is not None:
            pid = None if state == "ended" else self.pid
            Address(state, socket.gethostname(), public_url(self.spec), pid, reason).publish(self._address)
        self._state = state

    def _processes(self) -> list[psutil.Process]:
        """Living processes of the server's group, the main process first."""
        if self._why_ended is not None:
            return []
        found = []
        for process in psutil.process_iter():
            with suppress(OSError, psutil.Error):
                if os.getpgid(process.pid) == self._child.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return sorted(found, key=lambda process: (process.pid != self._child.pid, process.pid))

    def _listens(self) -> bool:
        """Whether this server has its port: another program may have taken it, even another server."""
        with suppress(psutil.Error):
            connections = psutil.Process(self._child.pid).net_connections(kind="tcp")
            return any(c.status == psutil.CONN_LISTEN and c.laddr.port == self.spec.port for c in connections)
        return False

    def _note_files(self) -> None:
        """Remember the server's files in /dev/shm while it can be asked for them."""
        processes = [process.pid for process in self._processes()]
        before = len(self._shared)
        for process in processes:
            self._shared |= shared_files(process)
        if len(self._shared) > before:
            note_elsewhere(self._folder, self._shared, processes)

    def _output(self) -> str:
        """What this server has written into its log, as far as that can be read."""
        with suppress(OSError), self.log.open("rb") as file:
            file.seek(self._log_start)
            return file.read().decode("utf-8", errors="replace")
        return ""

    def _failed(self, how: str) -> UserError:
        return UserError(f"the SGLang server of {self.spec.model} {how}: {self.reason()} (log: {self.log})")


def installed() -> bool:
    """Whether this interpreter can run a server."""
    try:
        check_serving(this_python())
    except UserError:
        return False
    return True


def hold_port(host: str, port: int) -> socket.socket:
    """Keep a port (0: any free one) from other programs, though not from the server that is to listen on it.

    Two sockets may have the same port as long as both allow it (SO_REUSEADDR) and no other one listens.
    """
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise UserError(f"an SGLang server can't have port {port} of {host}: {first_line(error)}") from error
    return held


def check_startable(host: str, api_key: str | None, python: Path) -> Installation:
    """What a server would run with.

    UserError if `python` can't run one, or if other machines could reach a server on `host` that has no key.
    """
    if host not in LOOPBACK and not api_key:
        raise UserError(
            f"rollout.sglang.host {host} can be reached from other machines: put a key into the environment "
            "variable that rollout.sglang.api_key_env names"
        )
    return check_serving(python)


def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S / 5)
    return True
