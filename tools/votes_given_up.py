"""What it would bring to abort votes that can no longer change anything: `python -m tools.votes_given_up [RECIPE...]`.

Modelled, an upper bound: all answers to a question begin at once, aborting costs nothing, and answers that are equal
stay so whatever else is said. Of a vote that is decided, what runs longer than the answer that decided it is cut off.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Annotated

import typer

from recipes import load_recipe
from rzero_mega.coevolution.band import ends_of
from rzero_mega.config.schema import Config
from rzero_mega.planning.assumptions import shipped
from rzero_mega.planning.hardware import gpu_named
from rzero_mega.simulation import asked
from rzero_mega.simulation.drawing import Lengths, draw
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


@dataclass(frozen=True)
class Band:
    """Counts of the most frequent of `samples` answers with which a question is kept."""

    samples: int
    least: int
    most: int

    @classmethod
    def of(cls, config: Config) -> Band:
        """That of the labels."""
        samples, (low, high) = config.labels.votes.samples, ends_of(config.labels.curation)
        return cls(samples, math.ceil(low * samples), math.floor(high * samples))


def decided_after(answers: Sequence[int | None], band: Band, everything: bool) -> int:
    """How many of the answers, in the order in which they come, decide the vote; None stands for an unanswered sample.

    A vote is decided when the question is above the band whatever is to come; with `everything` also when it is below,
    or in it with the same label, a tie for which may be won.
    """
    counts: Counter[int] = Counter()
    for came, answer in enumerate(answers, 1):
        counts.update([] if answer is None else [answer])
        left = band.samples - came
        first, second = ([count for _, count in counts.most_common(2)] + [0, 0])[:2]
        below = first + left < band.least
        within = band.least <= first and first + left <= band.most and second + left <= first
        if first > band.most or (everything and (below or within)):
            return came
    return band.samples


@dataclass(frozen=True)
class CutShort(Lengths):
    """Lengths of answers of which none goes on when its vote is decided; `shares` is one of SHARES."""

    band: Band
    shares: str
    everything: bool

    def sample(self, random_numbers: Random, limit: int) -> int:
        """That of any answer to a question."""
        share = SHARES[self.shares](random_numbers)
        answers = sorted(super(CutShort, self).sample(random_numbers, limit) for _ in range(self.band.samples))
        said = [None if length == limit else _said(random_numbers, share) for length in answers]
        longest = answers[decided_after(said, self.band, self.everything) - 1]
        return min(random_numbers.choice(answers), longest)


def _said(numbers: Random, share: float) -> int:
    return 0 if numbers.random() < share else numbers.randint(1, OTHERS)


def saved(site: Site, shares: str, everything: bool) -> float:
    """Seconds of an iteration."""
    call, band = asked.answers(site.config, site.assumptions.responses), Band.of(site.config)
    cut = [
        replace(
            kind,
            lengths=CutShort(kind.lengths.median, kind.lengths.sigma, kind.lengths.cut_off, band, shares, everything),
        )
        for kind in call
    ]
    return draw(site.fleet, call).seconds - draw(site.fleet, tuple(cut)).seconds


def main(
    recipes: Annotated[list[str] | None, typer.Argument(help=f"By default {', '.join(RECIPES)}.")] = None,
) -> None:
    """Print a row of a Markdown table for each recipe and each way in which questions may be hard."""
    print(
        "| recipe | all, min | labels' votes, min | share of the most frequent answer | above the band | everything |"
    )
    print("|---|---|---|---|---|---|")
    for name in recipes or RECIPES:
        config = load_recipe(name)
        site = Site(config, gpu_named("H100"), shipped())
        whole = iteration_time(site).seconds
        votes = draw(site.fleet, asked.answers(config, site.assumptions.responses)).seconds
        for shares in SHARES:
            found = [saved(site, shares, everything) for everything in (False, True)]
            cells = (f"{seconds / 60:.2f} min, {seconds / whole:.1%}" for seconds in found)
            print(f"| {name} | {whole / 60:.1f} | {votes / 60:.1f} | {shares} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
