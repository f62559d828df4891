"""The command `eval`: the scores of one model, without a run directory."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from rzero_mega.commands.preflight import preflight
from rzero_mega.config.schema import Config
from rzero_mega.config.steps import phase_steps
from rzero_mega.evaluation.scores import summary
from rzero_mega.phase_name import PhaseName
from rzero_mega.phases.context import InferenceContext, load_encoder, new_grader, open_server_pool
from rzero_mega.phases.evaluate import score_model
from rzero_mega.scratch import temporary_folder
from rzero_mega.tracking.progress import Progress
from rzero_mega.weights.base_model import resolve_base_model


def evaluate_model(config: Config) -> dict[str, Any]:
    """What the evaluate phase would find of `model.path` on the configured benchmarks."""
    preflight(config, trains=False)
    torch.set_num_threads(1)
    model = resolve_base_model(config.model, Path(config.run.root) / ".models")
    with ExitStack() as stack:
        logs = stack.enter_context(temporary_folder("logs"))
        progress = stack.enter_context(Progress(f"eval {config.model.path}", 1))
        grader = stack.enter_context(new_grader(config.grading))
        server_pool = stack.enter_context(open_server_pool(config, logs))
        ctx = InferenceContext(config, load_encoder(model), grader, server_pool)
        with progress.phase(0, PhaseName.EVALUATE, phase_steps(config, PhaseName.EVALUATE, None)) as bar:
            scores = score_model(ctx, model, bar)
    return summary(scores, {benchmark.name: benchmark.group for benchmark in ctx.benchmarks})
