"""What the rewards cost: `python -m tools.bench_rewards [--json]`. Every figure is measured in this one run.

The repetition penalty against NLTK and scikit-learn; finding near-duplicates; the Challenger's memory; grading against
math-verify and mathruler; what stops hostile answers. One thread; seconds are processor time unless the table says
otherwise, figures medians. `tools/reward_benchmarks` has a file for each.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict
from types import ModuleType
from typing import Annotated, Any

import typer
from threadpoolctl import threadpool_limits

from tools.reward_benchmarks import attacks, grading, near_duplicates, question_memory, repetition

BENCHMARKS: dict[str, ModuleType] = {
    "repetition": repetition,
    "near_duplicates": near_duplicates,
    "question_memory": question_memory,
    "grading": grading,
    "attacks": attacks,
}
"""Each has `run(repeats)`, which measures, and `tables(result)`, the lines to print."""


def main(
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    what: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(BENCHMARKS)}.")] = ",".join(BENCHMARKS),
    repeats: Annotated[int, typer.Option(help="Measurements per figure of ours.", min=1)] = 5,
) -> None:
    """Measure everything and print tables, or JSON."""
    chosen = what.split(",")
    if unknown := set(chosen) - set(BENCHMARKS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, load {_load()} before"
    results: dict[str, Any] = {}
    with threadpool_limits(1):
        for name in chosen:
            print(f"bench_rewards: {name}", file=sys.stderr)
            results[name] = BENCHMARKS[name].run(repeats)
    machine += f" and {_load()} after; medians of {repeats}"
    if as_json:
        print(json.dumps({"machine": machine, **{name: asdict(result) for name, result in results.items()}}, indent=2))
        return
    print(machine)
    for name, result in results.items():
        print("", *BENCHMARKS[name].tables(result), sep="\n")


def _load() -> str:
    return "/".join(f"{value:.1f}" for value in os.getloadavg())


if __name__ == "__main__":
    typer.run(main)
