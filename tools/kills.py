"""Kill a run before each kind of change that it makes to its folder, one after the other, and compare what it leaves.

    python -m tools.kills [--most N]

A place is an operation on a path: opening for writing, renaming, removing, making a folder. A tiny nano run is started
again and again; each attempt is killed (SIGKILL) at the first place where none was killed before, until one finishes.
The models must be those of a run that nobody disturbed, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from rzero_mega.atomic import files_below
from rzero_mega.phases.runner import run_all
from rzero_mega.run import RunDirectory
from rzero_mega.run.stop import StopRequest
from rzero_mega.run.verify import verify_run
from tools.damage import NAME, config_in

CHANGES = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate")
_RANDOM = re.compile(r"\.[0-9a-f]{8}\.(tmp|old)")


def attempt(folder: Path, places: Path | None) -> bool:
    """Go on with the run below `folder` in a child; whether it finished.

    It is killed at the first place that is not in the file `places`, and the place is added to it.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if places is not None:
                _die_at_a_new_place(folder / NAME, places)
            run_all(config_in(folder), StopRequest())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) or status == 0:
        return status == 0
    raise SystemExit("an attempt failed; its error is above")


def _die_at_a_new_place(run: Path, places: Path) -> None:
    killed = set(places.read_text().splitlines())

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event not in CHANGES or not str(arguments[0]).startswith(str(run)):
            return
        if event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR):
            return
        path = _RANDOM.sub("", os.path.relpath(str(arguments[0]), run))
        place = f"{event} {path}"
        if place not in killed:
            with places.open("a") as file:
                file.write(place + "\n")
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def models(folder: Path) -> dict[str, bytes]:
    """The bytes of what the run trained and curated, by name."""
    run = folder / NAME
    names = ("model", "dataset.jsonl", "labelled.jsonl", "questions.jsonl", "scores.jsonl")
    files = [path for path in files_below(run / "iterations") if {path.name, path.parent.name} & set(names)]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}


def main() -> None:
    """Print how many kills there were and where, and whether all that is left is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1000, help="kills; after them the run is left to finish")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, places = Path(name), Path(name) / "places"
        places.touch()
        undisturbed, disturbed = folder / "undisturbed", folder / "killed"
        attempt(undisturbed, None)
        finished = False
        while not finished:
            killed = places.read_text().splitlines()
            finished = attempt(disturbed, places if len(killed) < options.most else None)
        killed = places.read_text().splitlines()
        equal = models(undisturbed) == models(disturbed)
        damaged = verify_run(RunDirectory.open_existing(disturbed / NAME)).damaged
        print("\n".join(killed))
        print(f"{len(killed)} kills, each at another place; bytes equal: {equal}; verify: {damaged or 'whole'}")
        raise SystemExit(0 if equal and not damaged else 1)


if __name__ == "__main__":
    main()
