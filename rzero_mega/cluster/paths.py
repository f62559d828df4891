"""Paths of a configuration as jobs can follow them: they run in another folder than the one that submits. Pure, but for
looking at what is there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rzero_mega.config import Config


def with_absolute_paths(config: Config, here: Path) -> Config:
    """The configuration with every path absolute that leads, from the folder `here`, to a model, prompt or benchmark.

    Names stay what they are: of hub models that are no folder here, shipped prompts, and built-in benchmarks.
    """

    def file(text: str) -> str:
        return str(here / text) if (here / text).is_file() else text

    sglang, weights = config.rollout.sglang, config.weights
    data = config.evaluation.data
    given = config.prompts
    prompts = replace(
        given,
        challenger=_prompt(given.challenger, here),
        solver=_prompt(given.solver, here),
        paraphrase=_prompt(given.paraphrase, here),
        program=_prompt(given.program, here),
    )
    model = config.model.path
    return replace(
        config,
        model=replace(config.model, path=str(here / model) if (here / model).is_dir() else model),
        prompts=prompts,
        evaluation=replace(
            config.evaluation,
            benchmarks=[file(name) for name in config.evaluation.benchmarks],
            data=data and str(here / data),
        ),
        weights=replace(weights, folder=weights.folder and str(here / weights.folder)),
        rollout=replace(config.rollout, sglang=replace(sglang, python=sglang.python and str(here / sglang.python))),
    )


def _prompt(name: str | None, here: Path) -> str | None:
    return str(here / name) if name is not None and Path(name).suffix in (".yaml", ".yml") else name
