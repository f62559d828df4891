"""Progress on the console: bars on a terminal, plain lines elsewhere, nothing on ranks other than the writer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table

from rzero_mega.run.run_log import RunLogHandler, with_times
from rzero_mega.terminal import in_one_line, new_console
from rzero_mega.tracking.gauge_rows import SHORT, short_rows, stages
from rzero_mega.tracking.gpu_hours import PhaseUse, of_last_iteration
from rzero_mega.tracking.status import IterationStatus, RunStatus, by_protocol, diagnostic_lines, interval_lines
from rzero_mega.tracking.summaries import NOTHING, duration, percent
from rzero_mega.tracking.use_rows import short_table, use_title

_log = logging.getLogger(__name__)

# The mark of records that tell a step.
STEP = "rzero_mega_step"
# Columns of a terminal from which on a line of progress shows these.
_ROOM_FOR_LEFT, _ROOM_FOR_ELAPSED, _ROOM_FOR_VALUES = 55, 70, 120
# Longer phases print every n-th step where there is no terminal.
_MAXIMUM_LINES = 25


class Progress:
    """Progress of one run; use it as a context manager.

    On a terminal there are three bars with the time left: run, phase, and work inside a step. Elsewhere (a file, Slurm)
    there is a line per step, at most 25 a phase. Log records of the package, from INFO on, are shown above the bars.
    With writer=False nothing is printed, and log records go where they went.
    """

    def __init__(
        self, title: str, phases: int, writer: bool = True, console: Console | None = None, times: bool = False
    ) -> None:
        """`phases` is the number of phases of the whole run, finished ones included; `times` go before lines."""
        self._console = new_console(quiet=True) if not writer else console or new_console()
        self._writer, self._live = writer, writer and self._console.is_terminal
        self._bars = RichProgress(
            *_bar_columns(self._console.width),
            console=self._console,
            expand=True,
            # A step may take many minutes; the default window of 30 s would forget the speed between two steps.
            speed_estimate_period=24 * 3600,
            disable=not self._live,
        )
        self._title, self._phases, self._times = title, phases, times
        self._run: TaskID | None = None
        self._open = ExitStack()

    def __enter__(self) -> Progress:
        """Draw the bars."""
        self._bars.start()
        self._run = self._bars.add_task(in_one_line(self._title), total=self._phases, values="")
        if self._writer:
            self._open.enter_context(_log_on(self._console, self._times))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        self._open.close()
        self._bars.stop()

    def skip(self, iteration: int, phase: str) -> None:
        """Count a phase that an earlier attempt finished."""
        self._advance_run()
        if self._writer:
            _log.info("iteration %d · %s · finished before", iteration, phase)

    @contextmanager
    def phase(self, iteration: int, phase: str, steps: int | None, done: int = 0) -> Iterator[PhaseProgress]:
        """Show a phase of `steps` steps or parts (None: unknown), `done` of which an earlier attempt did."""
        name = f"iteration {iteration} · {phase}"
        task = self._bars.add_task(name, total=steps, completed=done, values="")
        shown = PhaseProgress(self._bars, task, name, steps, lines=self._writer)
        began = time.monotonic()
        try:
            yield shown
        finally:
            self._bars.remove_task(task)
        self._advance_run()
        if self._writer:
            _log.info("%s · finished in %s", name, duration(time.monotonic() - began))

    def table(self, status: RunStatus) -> None:
        """Print the table of iterations."""
        self._console.print(iterations_table(status, width=self._console.width))
        for line in [*diagnostic_lines(status), *interval_lines(status)]:
            self._console.print(line, soft_wrap=True)
        benchmarks = benchmarks_table(status)
        if benchmarks is not None:
            self._console.print(benchmarks)

    def _advance_run(self) -> None:
        if self._run is not None:
            self._bars.advance(self._run)


def _bar_columns(width: int) -> list[ProgressColumn]:
    """What a line of progress has, as far as there is room: nothing is cut inside a word."""
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
    ]
    if width >= _ROOM_FOR_ELAPSED:
        columns.append(TimeElapsedColumn())
    if width >= _ROOM_FOR_LEFT:
        columns += [TextColumn("left"), TimeRemainingColumn()]
    if width >= _ROOM_FOR_VALUES:
        columns.append(TextColumn("{task.fields[values]}", style="dim", markup=False))
    return columns


class PhaseProgress:
    """Progress of one phase; made by `Progress.phase`."""

    def __init__(self, bars: RichProgress, task: TaskID, name: str, steps: int | None, lines: bool) -> None:
        """`lines` says whether steps are told as lines too: where there are bars, for the run's log alone."""
        self._bars, self._task, self._name, self._steps, self._lines = bars, task, name, steps, lines
        self._every = 1 if steps is None else max(1, -(-steps // _MAXIMUM_LINES))

    def advance(self, step: int, left: float | None = None, **values: float | None) -> None:
        """Show that `step` steps are done, with a few numbers of the last one; `left`: seconds to the end."""
        told = [f"{key} {value:.3g}" for key, value in values.items() if value is not None]
        words = " · ".join(told if left is None else [*told, f"about {duration(left)} left"])
        self._bars.update(self._task, completed=step, values=words, refresh=True)
        if self._lines and (step % self._every == 0 or step == self._steps):
            count = f"{step}/{self._steps}" if self._steps is not None else f"{step}"
            _log.info(" · ".join(part for part in (self._name, count, words) if part), extra={STEP: True})

    @contextmanager
    def work(self, description: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show work inside a step (sequences, gradings) on terminals; yields a function that counts items done."""
        task = self._bars.add_task(description, total=total, values="")
        self._bars.refresh()
        try:
            yield lambda items: self._bars.advance(task, items)
        finally:
            self._bars.remove_task(task)


class _LinesAbove(logging.Handler):
    """Prints records on a console, above the bars that are there."""

    def __init__(self, console: Console, times: bool) -> None:
        super().__init__()
        self._console = console
        if times:
            self.setFormatter(with_times("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if self._console.is_terminal and getattr(record, STEP, False):
            return  # the bars show it
        self._console.print(self.format(record), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _log_on(console: Console, times: bool) -> Iterator[None]:
    """Show what the package's loggers tell, from INFO on, on `console` and not where it went before."""
    logger = logging.getLogger("rzero_mega")
    handlers, level = logger.handlers, logger.level
    logger.handlers = [_LinesAbove(console, times), *(kept for kept in handlers if isinstance(kept, RunLogHandler))]
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers = handlers
        logger.setLevel(level)


# Columns in the order in which a narrow terminal does without them, the last first.
_COLUMNS = ("iteration", "score", "mean", "greedy", "time", "transfer", "kept", "label accuracy", "flawed")
_SHOWN = ("iteration", "score", "mean", "greedy", "transfer", "label accuracy", "kept", "flawed", "time")
# The same where answers have scores and no labels.
_COLUMNS_OF_SCORES = (*_COLUMNS[:-2], "hidden quality", "answers' score", "spread")
_SHOWN_OF_SCORES = (*_SHOWN[:5], "hidden quality", "answers' score", "spread", "kept", "time")


def iterations_table(status: RunStatus, state: str | None = None, width: int = 80) -> Table:
    """What each iteration brought, the base in the first row, as far as `width` columns have room.

    `state` stands for the run's own where that is given.
    """
    rows = [_cells(row) for row in status.iterations]
    unwanted = ["mean", "greedy"] if by_protocol(status) else ["score"]
    if all(row.transfer is None for row in status.iterations):
        unwanted.append("transfer")
    scored = any(row.scores is not None for row in status.iterations)
    kept = [name for name in (_COLUMNS_OF_SCORES if scored else _COLUMNS) if name not in unwanted]
    while len(kept) > 2 and _width(kept, rows) > width:
        kept.pop()
    shown = [name for name in (_SHOWN_OF_SCORES if scored else _SHOWN) if name in kept]
    table = Table(title=f"{status.name} · {state or status.state}", title_justify="left")
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def benchmarks_table(status: RunStatus) -> Table | None:
    """The mean accuracy by benchmark, a row for each; None where there is but one."""
    evaluated = [row for row in status.iterations if row.benchmarks]
    names = list(dict.fromkeys(name for row in evaluated for name in row.benchmarks))
    if len(names) < 2:
        return None
    table = Table(title="mean by benchmark", title_justify="left")
    table.add_column("benchmark", overflow="fold")
    for row in evaluated:
        table.add_column("base" if row.iteration == 0 else str(row.iteration), justify="right", no_wrap=True)
    for name in names:
        table.add_row(name, *(percent(row.benchmarks.get(name)) for row in evaluated))
    return table


def labels_table(status: RunStatus) -> Table | None:
    """What labels are worth, and what gauges tell of it; None where neither is known. Columns without values go."""
    found = stages((row.iteration, row.gauges, row.base_gauges, row.quality, row.guard) for row in status.iterations)
    rows = short_rows(found)
    known = [place for place in range(len(SHORT)) if any(row[place] != NOTHING for row in rows)]
    if len(known) < 2:
        return None
    of = next((gauges.questions for _, gauges, _, _ in found if gauges is not None), None)
    on = "" if of is None else f"; gauges on {of} fixed questions"
    table = Table(title=f"labels{on}", title_justify="left")
    for place in known:
        table.add_column(SHORT[place], justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[place] for place in known))
    return table


def use_table(uses: Sequence[PhaseUse]) -> Table | None:
    """Where the GPU-hours of the last iteration that `uses` have went, phase by phase; None where nothing is known."""
    latest = of_last_iteration(uses)
    if not latest:
        return None
    (headings, rows), title = short_table(latest), use_title(latest)
    # Narrower than the other tables, so that 80 columns hold all figures.
    table = Table(
        title=title,
        title_justify="left",
        min_width=len(title),
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _width(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> int:
    """Of a table with these columns: a border and two spaces around each."""
    return 1 + sum(3 + max([len(name), *(len(row[name]) for row in rows)]) for name in names)


def _cells(row: IterationStatus) -> dict[str, str]:
    """{heading: text} of a row."""
    seconds = sum(row.seconds.values())
    return {
        "iteration": "base" if row.iteration == 0 else str(row.iteration),
        "score": percent(row.value),
        "mean": percent(row.pass1_mean),
        "greedy": percent(row.pass1_greedy),
        "transfer": percent(row.transfer),
        "label accuracy": percent(row.label_accuracy),
        "kept": NOTHING if row.kept_questions is None else str(row.kept_questions),
        "flawed": percent(row.flawed_questions),
        "hidden quality": percent(row.scores.quality if row.scores else None),
        "answers' score": percent(row.scores.score if row.scores else None),
        "spread": percent(row.scores.spread if row.scores else None),
        "time": duration(seconds) if seconds else NOTHING,
    }
