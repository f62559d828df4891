"""What the base model and this machine have to say before anything is started: checked once, at the terminal.

What needs neither is checked before, in `checks.py`.
"""

from __future__ import annotations

import logging
from pathlib import Path

from rzero_mega.coevolution.prompts import PromptTemplate
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.panel import panel_prompts
from rzero_mega.config.schema import Config
from rzero_mega.config.schema.labelled import VOTES
from rzero_mega.domains.prompts import prompt_of
from rzero_mega.errors import UserError
from rzero_mega.evaluation.benchmarks import load_benchmarks
from rzero_mega.evaluation.labelled import load_labelled
from rzero_mega.evaluation.programs import check_sandbox
from rzero_mega.inspection.model import inspect_tokenizer
from rzero_mega.phases.budgets import check_budgets
from rzero_mega.phases.context import load_encoder
from rzero_mega.phases.labelled_data import training_data
from rzero_mega.planning.layout_rules import check_learner
from rzero_mega.rollout.sglang.pool.choices import check_servers
from rzero_mega.rollout.tokenization import PromptEncoder
from rzero_mega.tracking.prometheus import check_prometheus
from rzero_mega.weights.base_model import resolve_base_model
from rzero_mega.weights.shape import ModelShape, read_shape

_log = logging.getLogger(__name__)


def preflight(config: Config, trains: bool = True) -> ModelShape:
    """Resolve the base model; check it, the layout, servers and tokenizer; UserError for the first fault."""
    challenger, solver = prompt_of(config, "challenger"), prompt_of(config, "solver")
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    base = resolve_base_model(config.model, Path(config.run.root) / ".models")
    shape = read_shape(base)
    check_learner(shape, layout, config.learner.lora)
    check_prometheus(config.tracking.prometheus)
    asked = panel_prompts(config)
    if "program" in asked:
        check_sandbox()
    answering = [solver, *(prompt_of(config, key) for key in asked)]
    inspect_tokenizer(base, shape.vocab, asking=[challenger] if trains else [], answering=answering)
    if trains:
        encoder = load_encoder(base)
        check_budgets(config, encoder, shape.max_positions)
        if config.labelled.method != VOTES:
            check_labelled(config, encoder, solver, base)
    if config.rollout.engine == "sglang":
        check_servers(config, shape)
    elif config.weights.quantization != "none":
        raise UserError("weights.quantization: needs rollout.engine sglang; set it to none")
    return shape


def check_labelled(config: Config, encoder: PromptEncoder, solver: PromptTemplate, base: Path) -> None:
    """UserError if nothing of the labelled data can be trained on; a warning if some of it is left out."""
    benchmarks = load_benchmarks(config.evaluation)

    def asked(question: str) -> tuple[int, ...]:
        return encoder.encode_prompt(solver, question=question)

    data = training_data(config, load_labelled(config), benchmarks, encoder, asked, base)
    if any(data.dropped.values()):
        _log.warning("labelled.data: %s", data.in_words())
