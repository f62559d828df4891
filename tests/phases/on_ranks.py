"""A phase of a nano run in several processes, for programs of tests. Megatron's stand-ins must be there before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rzero_mega import spmd
from rzero_mega.atomic import write_jsonl
from rzero_mega.config import load_config
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.learner.megatron.process_groups import start_process_groups
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.context import ActivePhase, RunContext, load_encoder, new_grader
from rzero_mega.phases.runner import open_run
from rzero_mega.records import Record
from rzero_mega.run import PhaseDirectory
from rzero_mega.run.stop import StopRequest
from rzero_mega.tracking.progress import Progress
from rzero_mega.weights.base_model import resolve_base_model
from tests.phases.scripted import Bar


@contextmanager
def phase_on_ranks(
    folder: Path, run_name: str, settings: Sequence[str], name: PhaseName, labels: str, rows: Sequence[Record]
) -> Iterator[tuple[RunContext, ActivePhase]]:
    """The phase in iteration 1 of folder/run_name, begun, whose labels phase has left the `rows` as its output."""
    config = load_config(["paper", "nano"], settings)
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    start_process_groups(layout, config.seed)
    base = spmd.on_rank_0(resolve_base_model, config.model, folder / "models")
    grader, progress = new_grader(config), Progress("test", 1, writer=False)
    with closing(grader), open_run(folder / run_name, config) as run:
        ctx = RunContext(
            config, load_encoder(base), grader, None, run, layout, base, progress, wandb=None, stop=StopRequest()
        )
        leave(ctx, 1, PhaseName.LABELS, labels, rows)
        yield ctx, begin(ctx, 1, name)


def begin(ctx: RunContext, iteration: int, name: PhaseName) -> ActivePhase:
    """The phase, begun. For all ranks."""
    bar: Any = Bar()
    directory = ctx.run.phase(iteration, name)
    spmd.on_rank_0(directory.begin, {})
    return ActivePhase(directory, bar, ctx.config.seed)


def leave(ctx: RunContext, iteration: int, name: PhaseName, output: str, rows: Sequence[Record]) -> None:
    """Have a phase finished with the rows as its output. For all ranks."""
    spmd.on_rank_0(_leave, ctx.run.phase(iteration, name), output, rows)


def _leave(phase: PhaseDirectory, output: str, rows: Sequence[Record]) -> None:
    phase.begin({})
    write_jsonl(phase.path / f"{output}.jsonl", (row.as_json() for row in rows))
    phase.finish({output: Path(f"{output}.jsonl")}, {})
