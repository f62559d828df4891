"""How long prompts may be: a training sequence has to fit into a micro-batch, a prompt into the engine's context."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rzero_mega.config.panel import panel_prompts
from rzero_mega.config.schema import Config, TrainingConfig
from rzero_mega.config.schema.labelled import SFT, VOTES
from rzero_mega.domains.prompts import PromptRole, prompt_of
from rzero_mega.errors import UserError
from rzero_mega.learner.megatron.context_parallel import TokenSplit
from rzero_mega.learner.packing import check_longest_sequence, longest_prompt
from rzero_mega.rollout.tokenization import PromptEncoder
from rzero_mega.weights.shape import read_shape

Trained = Literal["challenger", "verifier", "critic", "solver"]
"""The roles that are trained by rollouts."""


def longest_trainable(config: Config, role: Trained) -> int:
    """Tokens of the longest prompt that the role can be trained on, beside the longest response."""
    response = _training(config, role).sampling.max_new_tokens
    return longest_prompt(response, config.learner.tokens_per_micro_batch, _multiple(config))


def longest_usable(config: Config, role: Trained, base: Path) -> int:
    """Tokens of the longest prompt that the role can be asked, with a token's answer, and trained on."""
    # All models of a run are of the base's shape.
    context = engine_context(config, read_shape(base).max_positions)
    return min(longest_trainable(config, role), context - 1)


def longest_trained(config: Config) -> int:
    """Tokens of the longest sequence that a micro-batch holds."""
    return longest_prompt(0, config.learner.tokens_per_micro_batch, _multiple(config))


def engine_context(config: Config, max_positions: int) -> int:
    """Tokens that a sequence on the rollout engine may have, of a model of so many positions."""
    sglang = config.rollout.engine == "sglang"
    return (config.rollout.sglang.context_length if sglang else None) or max_positions


def check_trainable(config: Config, role: Trained, prompt: int) -> None:
    """UserError if the role can't be trained on a prompt of so many tokens."""
    key = f"{'critic.comparing' if role == 'critic' else role}.training.sampling.max_new_tokens"
    response = _training(config, role).sampling.max_new_tokens
    check_longest_sequence(prompt, response, config.learner.tokens_per_micro_batch, key, _multiple(config))


def check_budgets(config: Config, encoder: PromptEncoder, max_positions: int) -> None:
    """UserError before anything starts if no micro-batch or no context holds the roles' prompts.

    The Challenger's is always the same. The Solver's and those of a panel have at least a token of a question in them;
    questions that are too long are dropped one by one.
    """
    asks = len(encoder.encode_prompt(prompt_of(config, "challenger")))
    roles: tuple[PromptRole, ...] = ("solver", *panel_prompts(config))
    with_question = {name: len(encoder.encode_prompt(prompt_of(config, name), question="")) + 1 for name in roles}
    if config.verifier.train:
        read = encoder.encode_prompt(prompt_of(config, "verifier"), question="", answer="")
        with_question["verifier"] = len(read) + 2
    if config.critic.generative:
        read = encoder.encode_prompt(prompt_of(config, "critic"), question="", first="", second="")
        with_question["critic"] = len(read) + 3
    answers, context = with_question["solver"], engine_context(config, max_positions)
    for name, prompt in {"challenger": asks, **with_question}.items():
        if prompt >= context:
            key = "rollout.sglang.context_length" if context != max_positions else "model.path"
            raise UserError(
                f"{key}: a context of {context} tokens does not hold the prompt of prompts.{name}, which has {prompt}; "
                "shorten the prompt"
            )
    if config.labelled.method == VOTES and config.challenger.train and config.challenger.training.steps:
        check_trainable(config, "challenger", asks)
    if config.verifier.train and config.verifier.training.steps:
        check_trainable(config, "verifier", with_question["verifier"])
    if config.critic.generative and config.critic.phase_steps:
        check_trainable(config, "critic", with_question["critic"])
    if config.labelled.method != SFT and config.solver.training.steps:
        check_trainable(config, "solver", answers)


def _training(config: Config, role: Trained) -> TrainingConfig:
    match role:
        case "challenger":
            return config.challenger.training
        case "verifier":
            return config.verifier.training
        case "critic":
            return config.critic.comparing.training
        case "solver":
            return config.solver.training


def _multiple(config: Config) -> int:
    return TokenSplit(config.learner.layout.cp).sequence_multiple
