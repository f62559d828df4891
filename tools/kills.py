"""Kill a run before changes that it makes to its folder, one after the other, and compare what it leaves.

    python -m tools.kills [--processes 2] [--kills N] [--folder FOLDER]

A place is an operation of a rank on a path: opening for writing, renaming, removing, making a folder. A tiny nano run
is started again and again; each attempt is killed (SIGKILL) at a place to which none came before, about N of them
spread over all, until one finishes. With several processes it is a launcher and its ranks, and each kill has other
victims, in turn (VICTIMS). After every attempt no process may be left, and in the end the models must be those of a run
that nobody disturbed, byte for byte. The same FOLDER goes on where an earlier call was ended.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rzero_mega.recipes import load_recipe

from rzero_mega.atomic import files_below
from rzero_mega.commands.process import run_process
from rzero_mega.commands.start import spread
from rzero_mega.config import Config
from rzero_mega.phases.runner import run_phases
from rzero_mega.run import RunDirectory, launch
from rzero_mega.run.stop import StopRequest
from rzero_mega.run.verify import verify_run
from tools.damage import NAME, SIZES
from tools.forking import fork

CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
_RANDOM = re.compile(r"\.[0-9a-f]{8}\.(tmp|old)")
PR_SET_CHILD_SUBREAPER = 36
# What is stopped (SIGSTOP) first, and what is then killed; "grader" is a grading process, "tool" the rank at the place.
VICTIMS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("rank 0",)),
    ("", ("rank 1",)),
    ("", ("launcher",)),
    ("", ("rank 1", "rank 0")),
    ("rank 1", ("rank 0",)),
    ("grader", ("rank 1",)),
    ("rank 1", ("launcher",)),
    ("rank 1", ()),
)


@dataclass(frozen=True)
class Kill:
    """One attempt that was killed: where, what was stopped and killed, how its launcher ended and what it said."""

    place: str
    victims: str
    code: int = 0
    said: str = ""
    left: int = 0
    seconds: float = 0.0


class ForkedRank:
    """A rank as a fork of its launcher, which saves it the imports: what `launch` uses of subprocess.Popen."""

    def __init__(self, work: Callable[[], None], environment: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        self.pid = fork()
        if self.pid == 0:
            os.environ.update(environment)
            _in_child(work)

    def poll(self) -> int | None:
        """The code, once it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = float("inf")) -> None:
        """Wait for the end. TimeoutExpired where it does not come."""
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("rank", timeout)
            time.sleep(0.02)

    def send_signal(self, number: int) -> None:
        """Send one, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it, if it lives."""
        self.send_signal(signal.SIGKILL)


def _in_child(work: Callable[[], None]) -> None:
    status = 1
    try:
        run_process(work)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Killer:
    """Runs attempts in `folder` and kills them: at one in `every` of the places that no attempt came to before."""

    def __init__(self, folder: Path, config: Config, every: int) -> None:
        self._folder, self._config, self._every = folder, config, every
        self._pids = folder / "pids"
        self._pids.mkdir(parents=True, exist_ok=True)
        self.log = folder / "kills.jsonl"
        self.log.touch()

    def attempt(self) -> Kill | None:
        """Go on with the run; the kill that ended it, None if it finished."""
        said, before, began = self._folder / "said", len(self.kills()), time.monotonic()
        (self._folder / "struck").unlink(missing_ok=True)
        child = fork()
        if child == 0:
            os.environ["TMPDIR"] = tempfile.tempdir = str(self._folder)
            with said.open("wb") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            _in_child(self._launch)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        left, lines = _end_all_left(), said.read_text(errors="replace").splitlines()
        new = self.kills()[before:]
        if len(new) > 1 or (code and not new):
            raise SystemExit("\n".join([*lines[-40:], f"an attempt ended with {code} after {len(new)} kills"]))
        if not new:
            return None
        line = next((line for line in lines if line.startswith("rzero-mega: ")), "")
        seconds = round(time.monotonic() - began, 1)
        kill = Kill(new[0].place, new[0].victims, code, line.partition(";")[0], left, seconds)
        self._write([*self.kills()[:before], kill])
        return kill

    def kills(self) -> list[Kill]:
        """So far."""
        return [Kill(**json.loads(line)) for line in self.log.read_text().splitlines()]

    def _write(self, kills: Sequence[Kill]) -> None:
        self.log.write_text("".join(json.dumps(asdict(kill)) + "\n" for kill in kills))

    def _launch(self) -> None:
        self._note_pid("launcher")
        if self._config.learner.processes == 1:
            self._rank(0)
            return
        launch._start = lambda _arguments, environment, _log: ForkedRank(  # type: ignore[assignment,return-value]
            lambda: self._rank(int(environment["RANK"])), environment
        )
        spread(self._config, lambda stop: run_phases(self._config, stop))

    def _rank(self, rank: int) -> None:
        self._note_pid(f"rank {rank}")
        seen = self._folder / f"seen-{rank}"
        seen.touch()
        known, run = set(seen.read_text().splitlines()), str(self._folder / NAME)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event not in CHANGES or not str(arguments[0]).startswith(run):
                return
            if event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR):
                return
            path = _RANDOM.sub("", os.path.relpath(str(arguments[0]), run))
            place = f"{event} {path}"
            if place in known:
                return
            known.add(place)
            with seen.open("a") as file:
                file.write(place + "\n")
            if self._every and len(known) % self._every == 0:
                self._strike(f"rank {rank}: {place}", rank)

        sys.addaudithook(hook)
        run_phases(self._config, StopRequest())

    def _strike(self, place: str, rank: int) -> None:
        victims = VICTIMS[:1] if self._config.learner.processes == 1 else VICTIMS
        stopped, killed = victims[len(self.kills()) % len(victims)]
        try:
            (self._folder / "struck").touch(exist_ok=False)
        except FileExistsError:
            return  # the other rank has; one kill an attempt
        words = [f"{stopped} stopped"] if stopped else []
        with self.log.open("a") as log:
            what = " and ".join([*words, *(f"{name} killed" for name in killed)])
            log.write(json.dumps(asdict(Kill(place, what))) + "\n")
        signals = [*((stopped, signal.SIGSTOP) for _ in words), *((name, signal.SIGKILL) for name in killed)]
        for name, number in sorted(signals, key=lambda pair: pair[0] == f"rank {rank}"):  # itself last
            for pid in self._processes(name):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _processes(self, name: str) -> list[int]:
        if name == "grader":
            rank_0 = psutil.Process(int((self._pids / "rank 0").read_text()))
            return [child.pid for child in rank_0.children() if "worker" in " ".join(child.cmdline())][:1]
        return [int((self._pids / name).read_text())]

    def _note_pid(self, name: str) -> None:
        (self._pids / name).write_text(str(os.getpid()))


def _end_all_left() -> int:
    """How many processes of an attempt outlived its launcher by more than a moment; they are killed."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not psutil.Process().children():
            return 0
        time.sleep(0.1)
    left = psutil.Process().children(recursive=True)
    for process in left:
        process.kill()
    return len(left)


def config_in(folder: Path, processes: int) -> Config:
    """The configuration of the run in `folder`."""
    ours = [f"run.root={folder}", f"run.name={NAME}", f"learner.processes={processes}"]
    waits = ["learner.hang_timeout_s=10", "learner.checkpoint.asynchronous=true"]
    config: Config = load_recipe("nano", [*SIZES, *ours, *waits])
    return config


def models(folder: Path) -> dict[str, bytes]:
    """The bytes of what the run trained and curated, by name."""
    run = folder / NAME
    names = ("model", "dataset.jsonl", "labelled.jsonl", "questions.jsonl", "scores.jsonl")
    files = [path for path in files_below(run / "iterations") if {path.name, path.parent.name} & set(names)]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def phase_of(place: str) -> str:
    """Where in the run a place is."""
    found = re.search(r"iterations/(\d+)/(\w+)", place)
    if found:
        return f"{found[2]} {found[1]}"
    return "report" if "report.html" in place else "the run's folder"


def table(kills: Sequence[Kill]) -> str:
    """Kills by victims and by where the run was."""
    phases, victims = (list(dict.fromkeys(of)) for of in (map(_phase, kills), (kill.victims for kill in kills)))
    counts = Counter((kill.victims, _phase(kill)) for kill in kills)
    lines = [f"| {' | '.join(['victims', *phases, 'all'])} |", "|---" * (len(phases) + 2) + "|"]
    for victim in [*victims, "all"]:
        row = [sum(n for (v, p), n in counts.items() if victim in (v, "all") and p == phase) for phase in phases]
        lines.append(f"| {' | '.join([victim, *map(str, row), str(sum(row))])} |")
    return "\n".join(lines)


def _phase(kill: Kill) -> str:
    return phase_of(kill.place)


def in_folder(folder: Path, processes: int, wanted: int) -> bool:
    """Print each kill as it comes, then the table and what is left; whether all of it is as it should be."""
    undisturbed, disturbed = folder / "undisturbed", folder / "killed"
    calm = Killer(undisturbed, config_in(undisturbed, processes), 0)
    if not (folder / "places").is_file():
        if calm.attempt() is not None:
            raise SystemExit("the undisturbed run was killed")
        places = [len((undisturbed / f"seen-{rank}").read_text().splitlines()) for rank in range(processes)]
        (folder / "places").write_text(json.dumps(places))
    places = json.loads((folder / "places").read_text())
    print(f"an undisturbed run comes to {' + '.join(map(str, places))} places", flush=True)
    killer = Killer(disturbed, config_in(disturbed, processes), max(1, sum(places) // wanted))
    while (kill := killer.attempt()) is not None:
        what = f"{kill.place}: {kill.victims}: ended with {kill.code} in {kill.seconds} s"
        print(f"{len(killer.kills())}. {what}, {kill.left} processes left; {kill.said}", flush=True)
    kills = killer.kills()
    equal = models(undisturbed) == models(disturbed)
    damaged = verify_run(RunDirectory.open_existing(disturbed / NAME)).damaged
    leftovers = sorted(path.name for path in disturbed.glob("rzero-mega-*"))
    print(table(kills))
    print(f"{len(kills)} kills, each at another place; bytes equal: {equal}; verify: {damaged or 'whole'}")
    print(f"processes left: {sum(kill.left for kill in kills)}; temporary folders left: {leftovers or 'none'}")
    return equal and not damaged and not leftovers and not any(kill.left for kill in kills)


def main() -> None:
    """Kill a run in a folder that is given, or in a temporary one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kills", type=int, default=70, help="about so many; a run comes to more places on resuming")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    # Whatever a killed launcher leaves becomes a child of this process, which then sees it.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as name:
        folder = (options.folder or Path(name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        raise SystemExit(0 if in_folder(folder, options.processes, options.kills) else 1)


if __name__ == "__main__":
    main()
