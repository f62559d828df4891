"""What the base model and this machine have to say before anything is started: checked once, at the terminal.

What needs neither is checked before, in `checks.py`.
"""

from __future__ import annotations

from pathlib import Path

from rzero_mega.coevolution.prompts import load_prompt
from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.schema import Config
from rzero_mega.errors import UserError
from rzero_mega.inspection.model import inspect_tokenizer
from rzero_mega.phases.budgets import check_budgets
from rzero_mega.phases.context import load_encoder
from rzero_mega.planning.layout_rules import check_layout
from rzero_mega.rollout.sglang.pool.choices import check_servers
from rzero_mega.weights.base_model import resolve_base_model
from rzero_mega.weights.shape import ModelShape, read_shape


def preflight(config: Config, trains: bool = True) -> ModelShape:
    """Resolve the base model; check it, the layout, servers and tokenizer; UserError for the first fault."""
    challenger, solver = load_prompt(config.prompts.challenger), load_prompt(config.prompts.solver)
    layout = ParallelLayout.from_config(config.learner.layout, config.learner.processes)
    base = resolve_base_model(config.model, Path(config.run.root) / ".models")
    shape = read_shape(base)
    check_layout(shape, layout)
    inspect_tokenizer(base, shape.vocab, asking=[challenger] if trains else [], answering=[solver])
    if trains:
        check_budgets(config, load_encoder(base), shape.max_positions)
    if config.rollout.engine == "sglang":
        check_servers(config, shape)
    elif config.weights.quantization != "none":
        raise UserError("weights.quantization: needs rollout.engine sglang; set it to none")
    return shape
