"""A Markdown table of several runs: what each iteration brought, and mean and spread over seeds."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated

import typer

from rzero_mega.run import RunDirectory
from rzero_mega.tracking.status import IterationStatus, RunStatus, run_status


def main(runs: Annotated[list[Path], typer.Argument(help="Run directories, finished ones.")]) -> None:
    """Print one row per run, then one row with mean and standard deviation for every group of seeds."""
    opened = [RunDirectory.open_existing(path) for path in runs]
    statuses = [run_status(run) for run in opened]
    last = max(len(status.iterations) for status in statuses)
    header = ["run", "mean: base", *(f"{i}" for i in range(1, last)), "gain", "greedy: base → last"]
    header += ["label accuracy", "kept", "minutes"]
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for status in statuses:
        print("| " + " | ".join(_row(status)) + " |")
    groups: dict[str, list[RunStatus]] = {}
    for run, status in zip(opened, statuses, strict=True):
        groups.setdefault(f"{run.config.recipe} {run.config.ablation}", []).append(status)
    for name, group in groups.items():
        if len(group) > 1:
            gains = [gain for status in group if (gain := _gain(status)) is not None]
            print(f"\n{name}: gain {fmean(gains):+.1f} ± {stdev(gains):.1f} points over {len(gains)} seeds")


def _row(status: RunStatus) -> list[str]:
    base, *rest = status.iterations
    gain = _gain(status)
    minutes = sum(seconds or 0 for iteration in status.iterations for seconds in iteration.seconds.values()) / 60
    return [
        status.name,
        _percent(base.pass1_mean),
        *(_percent(iteration.pass1_mean) for iteration in rest),
        "–" if gain is None else f"{gain:+.1f}",
        f"{_percent(base.pass1_greedy)} → {_percent(rest[-1].pass1_greedy)}",
        " → ".join(_percent(iteration.label_accuracy) for iteration in rest),
        " / ".join(_count(iteration) for iteration in rest),
        f"{minutes:.1f}",
    ]


def _gain(status: RunStatus) -> float | None:
    first, last = status.iterations[0].pass1_mean, status.iterations[-1].pass1_mean
    return None if first is None or last is None else 100 * (last - first)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _count(iteration: IterationStatus) -> str:
    return "–" if iteration.kept_questions is None else str(iteration.kept_questions)


if __name__ == "__main__":
    typer.run(main)
