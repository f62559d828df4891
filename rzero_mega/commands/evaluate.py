"""The command `eval`: the scores of models, without a run directory."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from rzero_mega import atomic
from rzero_mega.commands.kept_evaluation import kept, write_finished
from rzero_mega.commands.preflight import preflight
from rzero_mega.config.schema import Config
from rzero_mega.config.steps import phase_steps
from rzero_mega.domains.prompts import prompt_text_of
from rzero_mega.evaluation.judge import second_look_of
from rzero_mega.evaluation.scores import Evaluation, evaluation_of
from rzero_mega.evaluation.texts import benchmarks_text
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.context import InferenceContext, load_encoder, new_grader, open_server_pool
from rzero_mega.phases.evaluate import ask_model
from rzero_mega.run.journal import FILE, Journal
from rzero_mega.scratch import temporary_folder
from rzero_mega.tracking.progress import Progress
from rzero_mega.weights.base_model import resolve_base_model
from rzero_mega.weights.model_files import model_sha256


def evaluate_models(configs: Sequence[Config], output: Path | None) -> dict[str, Evaluation]:
    """What the evaluate phase would find of each `model.path` on the configured benchmarks, by the model's name.

    `output` is a folder that gets one for each model, with what is found; what lies there is not asked again.
    """
    names = names_of([config.model.path for config in configs])
    found = {}
    with ExitStack() as stack:
        root = output if output is not None else stack.enter_context(temporary_folder("evaluation"))
        for name, config in zip(names, configs, strict=True):
            found[name] = evaluate_model(config, root / name)
    return found


def names_of(models: Sequence[str]) -> list[str]:
    """A folder's name for each model: the end of its path, with a number where that is another's too."""
    names: list[str] = []
    for model in models:
        name = re.sub(r"[^\w.-]+", "-", model.rstrip("/").rpartition("/")[2]).strip(".-") or "model"
        same = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", other) is not None for other in names)
        names.append(f"{name}-{same + 1}" if same else name)
    return names


def evaluate_model(config: Config, folder: Path) -> Evaluation:
    """What the evaluate phase would find of `model.path`; kept in the folder, from which it goes on after a kill."""
    preflight(config, trains=False)
    torch.set_num_threads(1)
    model = resolve_base_model(config.model, Path(config.run.root) / ".models")
    with ExitStack() as stack:
        logs = stack.enter_context(temporary_folder("logs"))
        progress = stack.enter_context(Progress(f"eval {config.model.path}", 1))
        grader = stack.enter_context(new_grader(config))
        server_pool = stack.enter_context(open_server_pool(config, logs))
        ctx = InferenceContext(config, load_encoder(model), grader, server_pool)
        mark = _mark(ctx, model)
        finished = kept(folder, mark)
        if finished is not None:
            progress.skip(0, PhaseName.EVALUATE)
            return finished
        with atomic.storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder / FILE, mark)
        with progress.phase(0, PhaseName.EVALUATE, phase_steps(config, PhaseName.EVALUATE, None)) as bar:
            responses = ask_model(ctx, model, journal, bar)
        evaluation = evaluation_of(ctx.benchmarks, responses, ctx.domain, ctx.grader, second_look_of(config, folder))
        write_finished(folder, mark, config, ctx.benchmarks, evaluation)
    return evaluation


def _mark(ctx: InferenceContext, model: Path) -> str:
    """What an evaluation is of: the model, the benchmarks and how they are asked."""
    config = ctx.config
    how = {
        "seed": config.seed,
        "model": model_sha256(model),
        "benchmarks": benchmarks_text(ctx.benchmarks),
        "prompt": prompt_text_of(config, "solver"),
        "asked": [config.evaluation.samples, asdict(config.evaluation.sampling), asdict(config.evaluation.protocol)],
        "judge": config.evaluation.judge.endpoint.model,
        "engine": [config.rollout.engine, config.rollout.dtype],
    }
    return hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()
