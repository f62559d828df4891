"""The processes of one job on one machine: started together, ended together."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rzero_mega.errors import UserError
from rzero_mega.lifetime import environment_of_child, module_command
from rzero_mega.own_file import append_to
from rzero_mega.patience import Patience
from rzero_mega.run.heartbeat import FOUND, HANG_EXIT_CODE, is_stopped, stopped_by_signal
from rzero_mega.run.stop import SIGNAL, StopRequest
from rzero_mega.scratch import temporary_folder

STORE = "RZERO_MEGA_STORE"
GRACE_S = 20.0
POLL_S = 0.05
STOPPED_LOOK_S = 1.0
# How long after the first rank those end that lose it, or meet the same error.
SETTLE_S = 0.5
USER_ERROR_EXIT_CODE = 2
PEER_LOST_EXIT_CODE = 76
"""Of a rank that ended because another one had: EX_PROTOCOL of sysexits.h."""


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


def launch(arguments: Sequence[str], processes: int, stop: StopRequest, hang_timeout_s: float) -> FirstDeath | None:
    """Run `python -m rzero_mega ARGUMENTS` in so many processes; returns the first that failed, None if all ended well.

    They meet through a file, so nothing listens on the network but gloo on the loopback interface. When one fails, the
    others are ended; a request to stop is passed on. They die with this process, also when it is killed.
    """
    with temporary_folder("ranks") as folder:
        found = folder / "found"
        environment = {**meeting_in(folder), FOUND: str(found)}
        with RankGroup(arguments, range(processes), processes, environment, None, hang_timeout_s) as ranks:
            while ranks.poll() is None:
                if stop.take():
                    ranks.signal(SIGNAL)
                time.sleep(POLL_S)
        death = ranks.first_death
        if death is not None and death.of_another and found.is_file():
            death = replace(death, found=found.read_text(encoding="utf-8"))
        return death


def meeting_in(folder: Path) -> dict[str, str]:
    """Environment of ranks on one machine: they meet through a file in `folder`, and gloo on the loopback interface."""
    return {STORE: str(folder / "store"), "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo")}


@dataclass(frozen=True)
class FirstDeath:
    """The rank whose end is why the others end, and its code: negative is the signal that killed it.

    `stopped_s` is set for one that was stopped by a signal and did not go on for so many seconds, `found` for one that
    ended because of what it found of another one: the line about that.
    """

    rank: int
    code: int
    stopped_s: float | None = None
    found: str = ""

    @property
    def of_another(self) -> bool:
        """Whether the rank ended because another one had, or stood still, perhaps on another node."""
        return self.stopped_s is None and self.code in (PEER_LOST_EXIT_CODE, HANG_EXIT_CODE)

    @property
    def exit_code(self) -> int:
        """The code as a shell has it."""
        return 128 - self.code if self.code < 0 else self.code

    def why(self, where: str = "") -> str:
        """One line for a rank that could say nothing itself; empty for the others. `where` is such as " on node n1"."""
        if self.stopped_s is not None:
            return stopped_by_signal(self.rank, self.stopped_s, where)
        if self.found:
            return self.found
        if self.code < 0:
            return f"rank {self.rank} was killed by {signal.Signals(-self.code).name}{where}"
        if self.code == PEER_LOST_EXIT_CODE:
            return f"rank {self.rank} lost its connection to the other ranks{where}, none of which has ended"
        return ""


class RankGroup:
    """Some ranks of a job, those of one machine. Leaving its `with` block ends them."""

    def __init__(
        self,
        arguments: Sequence[str],
        ranks: range,
        world: int,
        meeting: Mapping[str, str],
        logs: Path | None,
        hang_timeout_s: float,
    ) -> None:
        """Start `python -m rzero_mega ARGUMENTS` for each of `ranks` out of `world`; `meeting` tells how they meet.

        Their output goes to `logs`/rank-0003.log, or to this process's where `logs` is None. One that a signal stops
        has failed after `hang_timeout_s` seconds.
        """
        self._hang_timeout_s = hang_timeout_s
        self._patience: list[Patience] = []
        self._looked_at = time.monotonic()
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
                self._patience.append(Patience(hang_timeout_s, 2 * STOPPED_LOOK_S))
        except BaseException:
            self.end()
            raise

    def poll(self) -> int | None:
        """None while all go on, 0 when all ended well, else the code of `first_death`."""
        if not self._failed():
            stopped = self._stopped()
            if stopped is None:
                return 0 if all(child.returncode == 0 for child in self._children) else None
            self.first_death = FirstDeath(stopped, HANG_EXIT_CODE, self._hang_timeout_s)
        elif self.first_death is None:
            # The rank that met the error and the ones that lost their peer end together.
            time.sleep(SETTLE_S)
            self.first_death = self._cause(min(self._failed(), key=_rank_of_cause))
        return self.first_death.code

    def _cause(self, death: FirstDeath) -> FirstDeath:
        """One that ended because another stands still is not the cause, where a signal stopped that other one here."""
        if death.code == HANG_EXIT_CODE:
            for rank, child in zip(self._ranks, self._children, strict=True):
                if is_stopped(child.pid):
                    return FirstDeath(rank, HANG_EXIT_CODE, self._hang_timeout_s)
        return death

    def _failed(self) -> list[FirstDeath]:
        codes = [child.poll() for child in self._children]
        return [FirstDeath(rank, code) for rank, code in zip(self._ranks, codes, strict=True) if code]

    def _stopped(self) -> int | None:
        """A rank that has been stopped by a signal for too long."""
        if time.monotonic() - self._looked_at < min(STOPPED_LOOK_S, self._hang_timeout_s / 2):
            return None
        self._looked_at = time.monotonic()
        for rank, child, patience in zip(self._ranks, self._children, self._patience, strict=True):
            if not is_stopped(child.pid):
                patience.sign()
            elif patience.over():
                return rank
        return None

    def signal(self, number: int) -> None:
        """Send a signal to all that live."""
        for child in self._children:
            if child.poll() is None:
                child.send_signal(number)

    def end(self) -> None:
        """End all; those that are stopped, or take longer than GRACE_S seconds, are killed."""
        self.signal(signal.SIGTERM)
        for child in self._children:
            if child.poll() is None and is_stopped(child.pid):
                child.kill()
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


def _rank_of_cause(death: FirstDeath) -> int:
    """Of ranks that ended at the same time: a user error explains the others, a lost peer none."""
    if death.code == USER_ERROR_EXIT_CODE:
        return 0
    if death.code == PEER_LOST_EXIT_CODE:
        return 3
    return 1 if death.code < 0 else 2


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
