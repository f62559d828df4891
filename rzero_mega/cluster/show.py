"""What people see of a submission: the plan before it, and the jobs after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from rzero_mega.cluster.jobs import ChainedJob
from rzero_mega.cluster.nemo import Scripts
from rzero_mega.cluster.record import submitted_jobs
from rzero_mega.cluster.slurm import QueuedJob
from rzero_mega.cluster.submit import Submitted
from rzero_mega.run.job import failed_nodes
from rzero_mega.run.job_logs import last_end
from rzero_mega.terminal import in_one_line


def chain_lines(jobs: Sequence[ChainedJob]) -> list[str]:
    """One line per job: what it does and what it waits for."""
    return [
        f"{job.name:<16} {job.stretch} · job {job.link} of {job.links}"
        + (f" · after the end of {job.after}" if job.after else "")
        for job in jobs
    ]


def script_text(job: ChainedJob, scripts: Scripts) -> str:
    """A job's batch script and step, under headings."""
    return f"# ---- {job.name}: batch script\n{scripts.batch}\n# ---- {job.name}: step\n{scripts.step}"


def submitted_text(done: Submitted) -> str:
    """What a submission did, and how to go on."""
    return f"{submitted_words(done)}\nrun: {done.run}\nwatch it with: rzero-mega status {done.run}"


def submitted_words(done: Submitted) -> str:
    """What a submission did, in one line."""
    words = [f"{len(done.jobs)} jobs submitted" if done.jobs else "nothing to submit"]
    if done.kept:
        words.append(f"{done.kept} of earlier submissions are still queued or running")
    if done.cancelled:
        words.append(f"{done.cancelled} that nobody could have served were cancelled")
    if not done.jobs and not done.kept:
        words.append("the run is finished")
    return "; ".join(words)


class Waiting:
    """How far a run is, while its jobs are waited for: a bar on a terminal, elsewhere a line when something changes."""

    def __init__(self, name: str, phases: int, console: Console) -> None:
        """`phases` is the number of phases of the whole run."""
        self._name, self._phases, self._console = name, phases, console
        name_column = TextColumn("{task.description}", markup=False)
        columns = (name_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        words = TextColumn("{task.fields[words]}", style="dim", markup=False)
        self._bars = Progress(*columns, words, console=console, disable=not console.is_terminal)
        self._task = self._bars.add_task(in_one_line(name), total=phases, words="")
        self._said = ""

    def update(self, left: int, queue: Sequence[QueuedJob]) -> None:
        """Show that `left` phases are not finished, and what Slurm has."""
        running = [job for job in queue if not job.waits]
        names = ", ".join(f"{job.name.partition('.')[2]} on {job.nodes or '?'}" for job in running)
        now = f"running: {in_one_line(names)}" if running else "nothing is running"
        words = f"{now}; {len(queue) - len(running)} jobs queued"
        self._bars.update(self._task, completed=self._phases - left, words=words)
        line = f"{self._phases - left}/{self._phases} phases finished; {words}"
        if not self._console.is_terminal and line != self._said:
            self._console.print(line, soft_wrap=True)
        self._said = line

    def __enter__(self) -> Waiting:
        """Draw the bar."""
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()


def show_jobs(console: Console, run: Path, queue: Sequence[QueuedJob]) -> None:
    """The jobs that Slurm has, the nodes that are avoided, and why the last job ended."""
    if queue:
        phases = {job.job_id: job for job in submitted_jobs(run)}
        table = Table(title="jobs", title_justify="left")
        for heading in ("job", "iteration", "phase", "state", "time", "nodes or reason"):
            table.add_column(heading)
        for job in queue:
            known = phases.get(job.job_id)
            what = (str(known.iteration), f"{known.phase or 'all'} ({known.link})") if known else ("", job.name)
            table.add_row(job.job_id, *what, job.state.lower(), job.used, job.nodes or job.reason)
        console.print(table)
    elif submitted_jobs(run):
        console.print("no job is queued or running")
    end = last_end(run)
    if end is not None and end.code:
        console.print(
            f"last job ended with code {end.code}: {in_one_line(end.why)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    avoided = failed_nodes(run)
    if avoided:
        nodes = ", ".join(avoided)
        console.print(f"failed on {nodes}: avoided while enough other nodes are left", soft_wrap=True)
