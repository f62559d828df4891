"""What it brings to abort votes of which the band has been decided: `python -m tools.aborted_votes [RECIPE...]`.

The engine's own queue and dispatch in virtual time, with `labels.abort_decided` and without. How likely the most
frequent answer is and how many others there are is made up, and gauges ask for no votes to be drawn to their end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Annotated

import typer

from recipes import load_recipe
from rzero_mega.coevolution.decided_votes import OpenVotes, OutOfBand
from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import gpu_named
from rzero_mega.rollout.protocol import Decided, Sample
from rzero_mega.simulation import asked
from rzero_mega.simulation.drawing import draw
from rzero_mega.simulation.iteration import iteration_time
from rzero_mega.simulation.site import Site

RECIPES = ("qwen3_4b", "qwen3_8b", "qwen3_14b")
EASY = 0.95
SHARES: dict[str, Callable[[Random], float]] = {
    "near a half": lambda numbers: numbers.betavariate(2, 2),
    "evenly from 0 to 1": lambda numbers: numbers.random(),
    f"half {EASY}, half evenly": lambda numbers: EASY if numbers.random() < 0.5 else numbers.random(),
}
"""How likely an answer is the most frequent one, from question to question."""
OTHERS = 4
"""Other answers, all as likely."""


def deciding(rule: OutOfBand, shares: Callable[[Random], float]) -> Decided:
    """What decides votes on questions that are as hard as `shares` says."""
    votes = OpenVotes(rule)

    def decided(sample: Sample) -> bool:
        said = _said(sample, shares(Random(sample.key))) if sample.finished else None
        return votes.decided(sample.key, said)

    return decided


def _said(sample: Sample, share: float) -> str:
    numbers = Random(f"{sample.key}/{sample.index}")
    return "0" if numbers.random() < share else str(numbers.randint(1, OTHERS))


def main(
    recipes: Annotated[list[str] | None, typer.Argument(help=f"By default {', '.join(RECIPES)}.")] = None,
) -> None:
    """Print a row of a Markdown table for each recipe and each way in which questions may be hard."""
    print("| recipe | all, min | labels' votes, min | share of the most frequent answer | votes aborted, min | saved |")
    print("|---|---|---|---|---|---|")
    for name in recipes or RECIPES:
        config = load_recipe(name)
        site = Site(config, gpu_named("H100"), shipped())
        whole, rule = iteration_time(site).seconds, OutOfBand.of(config.labels)
        call = asked.answers(config, site.assumptions.responses)
        votes = draw(site.fleet, call).seconds
        for words, shares in SHARES.items():
            less = draw(site.fleet, call, deciding=partial(deciding, rule, shares)).seconds
            saved = f"{(votes - less) / 60:.2f} min, {(votes - less) / whole:.1%}"
            print(f"| {name} | {whole / 60:.1f} | {votes / 60:.1f} | {words} | {less / 60:.1f} | {saved} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
