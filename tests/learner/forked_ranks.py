"""Cases in several processes over gloo: a program that calls `main` runs each case in ranks forked from itself.

Every rank is forked from a process that has imported everything once and started nothing.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.lifetime import die_with_parent
from rzero_mega.run.launch import STORE
from tests.learner import megatron_version
from tests.programs import exit_code, start_program
from tools.forking import fork

# Of all cases together; a deadlock would last for ever, and a busy machine takes its time.
HANG_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class LayoutCase:
    """A case and its layout; `etp` None is the tp."""

    name: str = field(kw_only=False)
    tp: int = 1
    pp: int = 1
    cp: int = 1
    dp: int = 1
    sequence_parallel: bool = False
    ep: int = 1
    etp: int | None = None
    vpp: int = 1

    @property
    def processes(self) -> int:
        """Number of ranks."""
        return self.tp * self.pp * self.cp * self.dp

    @property
    def layout(self) -> ParallelLayout:
        """What the learner takes."""
        return ParallelLayout(
            tp=self.tp,
            pp=self.pp,
            vpp=self.vpp,
            cp=self.cp,
            dp=self.dp,
            ep=self.ep,
            etp=self.etp or self.tp,
            sequence_parallel=self.sequence_parallel,
        )


def run_program(module: str, cases: Sequence[Any], folder: Path) -> None:
    """Run a program's module on the cases (dataclasses); AssertionError with its output if one breaks."""
    request, output = folder / "cases.json", folder / "output.txt"
    request.write_text(json.dumps([asdict(case) for case in cases]))
    program = start_program(module, request, output)
    # A deadlock between ranks must not hang the tests.
    assert exit_code(program, HANG_S) == 0, output.read_text()


def main(case_type: Callable[..., LayoutCase], run: Callable[[Any, Path], None]) -> None:
    """Of the program: call `run(case, folder)` in every rank of every case, one case after another, and exit."""
    die_with_parent()
    request = Path(sys.argv[1])
    cases = [case_type(**values) for values in json.loads(request.read_text())]
    sys.exit(0 if all(run_ranks(case, run, request.parent) for case in cases) else 1)


def run_ranks(case: LayoutCase, run: Callable[[Any, Path], None], folder: Path) -> bool:
    """Run a case's ranks; False if one failed or was killed, which ends the others."""
    count = case.processes
    gc.freeze()  # Megatron collects garbage around checkpoints: ranks would walk, and copy, all that was imported
    with tempfile.TemporaryDirectory() as meeting:
        running = {_fork(case, run, rank, count, Path(meeting) / "store", folder) for rank in range(count)}
        while running:
            child, status = os.wait()
            running.discard(child)
            if status:
                for other in running:  # they would wait for the one that broke
                    os.kill(other, signal.SIGTERM)
                    os.waitpid(other, 0)
                return False
    return True


def _fork(case: LayoutCase, run: Callable[[Any, Path], None], rank: int, count: int, store: Path, folder: Path) -> int:
    child = fork()
    if child:
        return child
    code = 1
    try:
        die_with_parent()
        megatron_version.check()
        os.environ.update({"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), STORE: str(store)})
        run(case, folder)
        code = 0
    except BaseException:
        print(f"--- case {case.name}, rank {rank}", file=sys.stderr)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
