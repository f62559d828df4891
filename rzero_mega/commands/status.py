"""The command `status`: what each iteration brought, and where its jobs stand."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console

from rzero_mega.run import RunDirectory
from rzero_mega.terminal import new_console, say
from rzero_mega.tracking import benchmarks_table, iterations_table, labels_table, run_status
from rzero_mega.tracking.critic import critic_lines
from rzero_mega.tracking.differences import difference_lines
from rzero_mega.tracking.gauge_rows import guard_lines
from rzero_mega.tracking.gpu_hours import PhaseUse, of_last_iteration, run_use
from rzero_mega.tracking.label_audits import audit_lines
from rzero_mega.tracking.label_costs import cost_line
from rzero_mega.tracking.progress import use_table
from rzero_mega.tracking.status import (
    RunStatus,
    diagnostic_lines,
    grading_lines,
    interval_lines,
    models_line,
    rate_lines,
)
from rzero_mega.tracking.use_rows import NOTE, remark, uneven_lines
from rzero_mega.tracking.use_rows import as_json as uses_as_json
from rzero_mega.tracking.verifier import verifier_lines


def show_status(run: RunDirectory, as_json: bool) -> None:
    """Print the table of iterations, and the run's jobs where it has any; or the same as JSON, without the jobs."""
    found, uses, console = run_status(run), run_use(run), new_console()
    if as_json:
        say(json.dumps({**found.as_json(), "gpu_hours": uses_as_json(uses)}, indent=2))
        return
    if not (run.path / "jobs").is_dir():
        _show(console, found, uses, None)
        return
    from rzero_mega.cluster import command
    from rzero_mega.cluster.show import show_jobs

    queue = command.jobs_of(run)
    waits = found.state == "stopped" and queue
    _show(console, found, uses, "queued" if waits else None)
    show_jobs(console, run.path, queue)


def _show(console: Console, status: RunStatus, uses: Sequence[PhaseUse], state: str | None) -> None:
    console.print(iterations_table(status, state, console.width))
    audits = audit_lines((row.iteration, audit) for row in status.iterations for audit in row.audits)
    _tell(console, [*diagnostic_lines(status), *interval_lines(status), *audits])
    for table in (labels_table(status), benchmarks_table(status)):
        if table is not None:
            console.print(table)
    _show_use(console, uses)
    _tell(console, guard_lines((row.iteration, row.guard) for row in status.iterations))
    _tell(console, verifier_lines((row.iteration, row.verifier, row.verdicts) for row in status.iterations))
    _tell(console, critic_lines((row.iteration, row.critic) for row in status.iterations))
    _tell(console, difference_lines((row.iteration, row.differences) for row in status.iterations))
    now = status.halt if status.halt is not None else status.current
    costs = cost_line([row.label_costs for row in status.iterations])
    found = [costs, *grading_lines(status), *rate_lines(status), *map(str, status.values), models_line(status)]
    _tell(console, [*([] if now is None else [str(now)]), *(text for text in found if text is not None)])


def _show_use(console: Console, uses: Sequence[PhaseUse]) -> None:
    table = use_table(uses)
    if table is None:
        return
    console.print(table)
    said = remark(uses)
    _tell(console, [NOTE if said is None else f"{NOTE}; {said}", *uneven_lines(of_last_iteration(uses))])


def _tell(console: Console, lines: Iterable[str]) -> None:
    """Say them; on a terminal what is longer than a line of it goes on below, set in, at the next word."""
    for line in lines:
        if not console.is_terminal:
            say(line)
            continue
        for part in textwrap.wrap(line, console.width, subsequent_indent="  ", break_on_hyphens=False) or [""]:
            say(part)
