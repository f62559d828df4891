"""The accuracy of averages of two models by the share of the second: what `training.average.share` would hand on.

    python -m tools.average_models nano RUN/iterations/5/solver/model asset:nano_base [key=value ...]

The benchmarks are the recipe's. Nothing is trained: of a run that did without averages this says whether the next one
should have them, and which share. An average that is handed on also changes what the next iteration makes of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
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


MEASURES = ("mean", "greedy", "vote")

Figures = Mapping[str, Mapping[str, float | None]]


def write_average(folder: Path, model: Path, anchor: Path, share: float) -> None:
    """A folder in Hugging Face format with (1 - share) x model + share x anchor."""
    with HfWeights(model) as weights:
        stream = ((name, weights.tensor(name)) for name in weights.names())
        write_hf_folder(folder, averaged(stream, share, anchor), model)


def measure(config: Config, model: Path, anchor: Path, share: float, scratch: Path) -> Figures:
    """The accuracies of an average by the benchmarks of the configuration."""
    folder = scratch / f"share-{share:g}"
    write_average(folder, model, anchor, share)
    config.model = ModelConfig(path=str(folder))
    found: Figures = evaluate_model(config, scratch / f"evaluation-{share:g}").summary["by_benchmark"]
    return found


def table(points: Mapping[float, Figures]) -> list[str]:
    """The accuracies that were measured, in per cent, a row per share, in Markdown."""
    first = next(iter(points.values()))
    columns = [(name, measure) for name in first for measure in MEASURES if first[name][measure] is not None]
    names = [f"{name}: {measure}" for name, measure in columns]
    rows = [
        [f"{share:g}", *(f"{100 * (found[name][measure] or 0.0):.1f}" for name, measure in columns)]
        for share, found in points.items()
    ]
    lines = [["share of the anchor", *names], ["---"] * (1 + len(columns)), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


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
        points = {share: measure(config, given.model, anchor, share, scratch) for share in given.shares}
    for line in table(points):
        say(line)


if __name__ == "__main__":
    main()
