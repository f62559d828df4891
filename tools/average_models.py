"""The accuracy of averages of two models by the share of the second: what `training.average.share` would hand on.

    python -m tools.average_models nano RUN/iterations/5/solver/model asset:nano_base [key=value ...]

The benchmarks are the recipe's. Nothing is trained: of a run that did without averages this says whether the next one
should have them, and which share. An average that is handed on also changes what the next iteration makes of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega.recipes import load_recipe

from rzero_mega.commands.evaluate import evaluate_model
from rzero_mega.config.schema import Config, ModelConfig
from rzero_mega.scratch import temporary_folder
from rzero_mega.terminal import say
from rzero_mega.weights.average import averaged
from rzero_mega.weights.base_model import resolve_base_model
from rzero_mega.weights.hf_folder import HfWeights, write_hf_folder

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Point:
    """Accuracies, and how many problems they are over."""

    share: float
    mean: float
    greedy: float | None
    problems: int


def write_average(folder: Path, model: Path, anchor: Path, share: float) -> None:
    """A folder in Hugging Face format with (1 - share) x model + share x anchor."""
    with HfWeights(model) as weights:
        stream = ((name, weights.tensor(name)) for name in weights.names())
        write_hf_folder(folder, averaged(stream, share, anchor), model)


def measure(config: Config, model: Path, anchor: Path, share: float, scratch: Path) -> Point:
    """The accuracy of an average on the benchmarks of the configuration."""
    folder = scratch / f"share-{share:g}"
    write_average(folder, model, anchor, share)
    config.model = ModelConfig(path=str(folder))
    found = evaluate_model(config, scratch / f"evaluation-{share:g}")
    summary = found.summary
    return Point(share, summary["pass1_mean"], summary.get("pass1_greedy"), len(found.scores))


def table(points: Sequence[Point]) -> list[str]:
    """The points as a table in Markdown."""
    head = [f"| share of the anchor, {points[0].problems} problems | mean | greedy |", "|---|---|---|"]
    rows = (
        f"| {point.share:g} | {100 * point.mean:.1f} | {'–' if point.greedy is None else f'{100 * point.greedy:.1f}'} |"
        for point in points
    )
    return [*head, *rows]


def main() -> None:
    """Read the arguments, measure every share, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("model", type=Path, help="folder of a trained model")
    parser.add_argument("anchor", help="what it is averaged with: a folder, or what model.path takes")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES)
    given = parser.parse_args()
    config = load_recipe(given.recipe, ["learner.processes=1", *given.overrides])
    with temporary_folder("averages") as scratch:
        anchor = resolve_base_model(ModelConfig(path=given.anchor), scratch)
        points = [measure(config, given.model, anchor, share, scratch) for share in given.shares]
    for line in table(points):
        say(line)


if __name__ == "__main__":
    main()
