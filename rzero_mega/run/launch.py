"""The processes of one job on one machine: started together, ended together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.lifetime import environment_of_child, module_command
from rzero_mega.own_file import append_to
from rzero_mega.run.stop import SIGNAL, StopRequest
from rzero_mega.scratch import temporary_folder

STORE = "RZERO_MEGA_STORE"
GRACE_S = 20.0
POLL_S = 0.05


def is_rank() -> bool:
    """Whether this process is one of several that were started together, by `launch` or by torchrun."""
    return "RANK" in os.environ


def check_rank(environ: Mapping[str, str]) -> None:
    """UserError if the environment is half that of a rank: RANK alone, left over from something, names no peers."""
    if "RANK" not in environ:
        return
    needed = ["WORLD_SIZE"] if STORE in environ else ["WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    missing = [name for name in needed if not environ.get(name)]
    numbers = [name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if name in environ]
    wrong = [name for name in numbers if not re.fullmatch(r"[0-9]{1,9}", environ[name])]
    remedy = "unset RANK to have the processes started here, or start all of them with torchrun"
    if missing or wrong:
        what = f"{', '.join(missing)} is not" if missing else f"{wrong[0]}={environ[wrong[0]]!r} is no number"
        raise UserError(f"RANK is set, and {what}; {remedy}")
    if int(environ["RANK"]) >= int(environ["WORLD_SIZE"]):
        raise UserError(f"RANK is {environ['RANK']} of WORLD_SIZE {environ['WORLD_SIZE']} processes; {remedy}")


def checks_first() -> bool:
    """Whether this process is the one that checks before it starts: not a rank, or the first of those of torchrun.

    Ranks that were started by this program follow from a command that has checked.
    """
    return not is_rank() or ("TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] == "0")


def launch(arguments: Sequence[str], processes: int, stop: StopRequest) -> int:
    """Run `python -m rzero_mega ARGUMENTS` in so many processes; returns the exit code of the first that failed, or 0.

    They meet through a file, so nothing listens on the network but gloo on the loopback interface. When one fails, the
    others are ended; a request to stop is passed on. They die with this process, also when it is killed.
    """
    with (
        temporary_folder("ranks") as folder,
        RankGroup(arguments, range(processes), processes, meeting_in(folder), None) as ranks,
    ):
        while (code := ranks.poll()) is None:
            if stop.take():
                ranks.signal(SIGNAL)
            time.sleep(POLL_S)
        return code


def meeting_in(folder: Path) -> dict[str, str]:
    """Environment of ranks on one machine: they meet through a file in `folder`, and gloo on the loopback interface."""
    return {STORE: str(folder / "store"), "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")}


@dataclass(frozen=True)
class FirstDeath:
    """The rank whose end was seen first, and its code: negative is the signal that killed it."""

    rank: int
    code: int


class RankGroup:
    """Some ranks of a job, those of one machine. Leaving its `with` block ends them."""

    def __init__(
        self, arguments: Sequence[str], ranks: range, world: int, meeting: Mapping[str, str], logs: Path | None
    ) -> None:
        """Start `python -m rzero_mega ARGUMENTS` for each of `ranks` out of `world`; `meeting` tells how they meet.

        Their output goes to `logs`/rank-0003.log, or to this process's where `logs` is None.
        """
        self.first_death: FirstDeath | None = None
        self._ranks = list(ranks)
        self._children: list[subprocess.Popen[bytes]] = []
        try:
            for rank in ranks:
                place = {"RANK": rank, "LOCAL_RANK": rank - ranks.start, "WORLD_SIZE": world}
                place["LOCAL_WORLD_SIZE"] = len(ranks)
                environment = environment_of_child({**os.environ, **meeting})
                environment |= {name: str(value) for name, value in place.items()}
                environment.setdefault("OMP_NUM_THREADS", "1")
                # Megatron-core overlaps communication of tensor parallelism with work only if kernels keep their order.
                environment.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
                self._children.append(_start(arguments, environment, logs and log_of(logs, rank)))
        except BaseException:
            self.end()
            raise

    def poll(self) -> int | None:
        """None while all go on, 0 when all ended well, else the code of one that failed, preferably 2, a user error."""
        codes = [child.poll() for child in self._children]
        failed = [(rank, code) for rank, code in zip(self._ranks, codes, strict=True) if code]
        if failed:
            self.first_death = self.first_death or FirstDeath(*failed[0])
            # The rank that met the error and the ones that lost their peer end together; a user error counts.
            time.sleep(0.5)
            codes = [child.poll() for child in self._children]
            return 2 if 2 in codes else failed[0][1]
        return 0 if all(code == 0 for code in codes) else None

    def signal(self, number: int) -> None:
        """Send a signal to all that live."""
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)

    def end(self) -> None:
        """End all; those that take longer than GRACE_S seconds are killed."""
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        for child in self._children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def __enter__(self) -> RankGroup:
        """Use the group in a `with` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all."""
        self.end()


def log_of(logs: Path, rank: int) -> Path:
    """Where a rank's output lies."""
    return logs / f"rank-{rank:04d}.log"


def _start(arguments: Sequence[str], environment: Mapping[str, str], log: Path | None) -> subprocess.Popen[bytes]:
    command = module_command("rzero_mega", *arguments)
    if log is None:
        return subprocess.Popen(command, env=environment)
    with append_to(log) as output:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
