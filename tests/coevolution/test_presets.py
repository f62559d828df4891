"""Every row of the table of hyper-parameters, paper against official code."""

from __future__ import annotations

from dataclasses import asdict
from functools import reduce
from typing import Any

import pytest

from rzero_mega.config import load_config
from rzero_mega.config.panel import vote_sources
from rzero_mega.domains.mathematics.checks import CHECKS
from rzero_mega.learner.losses.objective import has_base_reference

PRESETS = {name: load_config([name]) for name in ("paper", "official_code")}

# key, value of the paper, value of the official code
TABLE: list[tuple[str, Any, Any]] = [
    ("challenger.reward.uncertainty", "tent", "min"),
    ("challenger.reward.clamp_at_zero", True, False),
    ("challenger.reward.repetition.weight", 1.0, 1.0),
    ("challenger.reward.memory.weight", 0.0, 0.0),
    ("challenger.reward.memory.threshold", 0.5, 0.5),
    ("challenger.reward.memory.shingle", 3, 3),
    ("challenger.reward.require_boxed", False, False),
    ("challenger.reward.malformed", 0.0, -1.0),
    ("challenger.reward.malformed_pays_repetition", False, True),
    ("challenger.votes.unanswered", "denominator", "denominator"),
    ("labels.votes.unanswered", "denominator", "denominator"),
    ("challenger.reward.repetition.symmetric", True, False),
    ("challenger.reward.repetition.tokenizer", "whitespace", "whitespace"),
    ("challenger.reward.repetition.distance_threshold", 0.5, 0.5),
    ("challenger.votes.samples", 10, 10),
    ("challenger.votes.sampling.temperature", 1.0, 1.0),
    ("challenger.votes.sampling.top_p", 1.0, 1.0),
    ("challenger.votes.sampling.top_k", 40, 40),
    ("challenger.votes.sampling.max_new_tokens", 4096, 4096),
    ("labels.votes.samples", 10, 9),
    ("labels.votes.sampling.temperature", 1.0, 1.0),
    ("labels.votes.sampling.top_p", 1.0, 1.0),
    ("labels.votes.sampling.top_k", 40, 40),
    ("labels.votes.sampling.max_new_tokens", 4096, 4096),
    ("labels.abort_decided", False, False),
    ("labels.label", "votes", "votes"),
    ("labels.selection", "band", "band"),
    ("labels.weighting", "none", "none"),
    ("labels.teaching.cost", 1.0, 1.0),
    ("labels.teaching.share", 0.25, 0.25),
    ("labels.curation.low", 0.25, 0.3),
    ("labels.curation.high", 0.75, 0.8),
    ("challenger.reward.unanswered_counts_as_doubt", True, True),
    ("challenger.reward.repetition.mask_numbers", False, False),
    ("labels.curation.near_duplicates.drop", False, False),
    ("labels.curation.near_duplicates.drop_seen", False, False),
    ("labels.curation.maximum_per_template", None, None),
    *((f"checks.{check}", False, False) for check in CHECKS),
    ("checks.maximum_question_chars", 2000, 2000),
    ("checks.maximum_unanswered", 0.5, 0.5),
    ("checks.minimum_majority", 0.25, 0.25),
    ("labels.curation.near_duplicates.threshold", 0.8, 0.8),
    ("labels.curation.near_duplicates.shingle", 3, 3),
    ("labels.curation.drop_duplicates", True, False),
    ("labels.curation.drop_held_out", True, False),
    ("labels.curation.minimum_kept", 1, 1),
    ("labels.curation.band_of", "all", "all"),
    ("labels.curation.minimum_support", 0, 0),
    ("labels.replay.questions", 0, 0),
    ("labels.replay.band", False, False),
    ("labels.panel.base", 0, 0),
    ("labels.panel.earlier", 0, 0),
    ("labels.panel.solver_reexpressed", 0, 0),
    ("labels.panel.base_reexpressed", 0, 0),
    ("labels.panel.programs", 0, 0),
    ("labels.panel.reexpression", "exact", "exact"),
    ("labels.panel.paraphrase.writer", "solver", "solver"),
    ("labels.panel.paraphrase.sampling.temperature", 0.7, 0.7),
    ("labels.panel.paraphrase.sampling.top_p", 0.95, 0.95),
    ("labels.panel.paraphrase.sampling.top_k", 0, 0),
    ("labels.panel.paraphrase.sampling.max_new_tokens", 1024, 1024),
    ("labels.panel.paraphrase.gate_samples", 5, 5),
    ("labels.curation.drop_answers", [], ["", "None"]),
    ("labels.curation.drop_questions_containing", [], ["证明", "box"]),
    ("labels.curation.drop_answers_containing", [], ["text"]),
    ("questions.count", 8000, 8000),
    ("questions.sampling.temperature", 1.0, 1.0),
    ("questions.sampling.top_p", 0.95, 0.95),
    ("questions.sampling.top_k", 0, 0),
    ("questions.sampling.max_new_tokens", 4096, 4096),
    ("questions.require_boxed", True, True),
    ("solver.reward.accuracy_weight", 1.0, 0.9),
    ("solver.reward.format_weight", 0.0, 0.1),
    ("solver.reward.format_pattern", r"<think>.*</think>.*\\boxed\{.*\}", r"<think>.*</think>.*\\boxed\{.*\}"),
    ("challenger.train", True, True),
    ("challenger.start", "previous", "previous"),
    ("solver.start", "previous", "previous"),
    ("solver.accumulate", False, False),
    ("solver.resampling_rounds", 0, 0),
    ("solver.over_provision", 0.0, 0.0),
    ("solver.partial_rollouts", 0, 0),
    ("challenger.training.steps", 5, 6),
    ("challenger.training.use_step", None, 5),
    ("solver.training.steps", 15, 20),
    ("solver.training.use_step", None, 15),
    ("iterations", 3, 5),
    ("challenger.training.rollouts_per_prompt", 4, 4),
    ("solver.training.rollouts_per_prompt", 5, 5),
    ("challenger.training.prompts_per_step", 512, 512),
    ("solver.training.prompts_per_step", 512, 512),
    ("challenger.training.grpo.sequences_per_update", 128, 64),
    ("solver.training.grpo.sequences_per_update", 128, 640),
]

# the same in the training of both roles
TRAINING: list[tuple[str, Any, Any]] = [
    ("optimizer.learning_rate", 1e-6, 1e-6),
    ("optimizer.decay_per_iteration", 1.0, 1.0),
    ("optimizer.weight_decay", 1e-2, 1e-2),
    ("optimizer.beta1", 0.9, 0.9),
    ("optimizer.beta2", 0.999, 0.999),
    ("optimizer.epsilon", 1e-8, 1e-8),
    ("optimizer.clip_gradient_norm", 1.0, 1.0),
    ("grpo.kl_coefficient", 1e-2, 1e-2),
    ("grpo.kl_base_coefficient", 0.0, 0.0),
    ("grpo.kl_clamp", 10.0, 10.0),
    ("grpo.policy_loss", "clipped", "clipped"),
    ("grpo.clip_low", 0.2, 0.2),
    ("grpo.clip_high", 0.3, 0.3),
    ("grpo.dual_clip", 3.0, 3.0),
    ("grpo.advantage.scale", "std", "std"),
    ("grpo.advantage.ddof", 1, 1),
    ("grpo.advantage.epsilon", 1e-6, 1e-6),
    ("grpo.advantage.drop_zero_variance", False, False),
    ("grpo.loss_aggregation", "token_mean", "micro_batch_token_mean"),
    ("grpo.sequences_per_micro_batch", 4, 4),
    ("grpo.importance_cap", 2.0, None),
    ("ahead", 0, 0),
    ("average.share", 0.0, 0.0),
    ("average.anchor", "base", "base"),
    ("sampling.temperature", 1.0, 1.0),
    ("sampling.top_p", 0.99, 0.99),
    ("sampling.top_k", 0, 0),
    ("sampling.max_new_tokens", 4096, 4096),
]

ROWS = TABLE + [
    (f"{role}.training.{key}", paper, code) for role in ("challenger", "solver") for key, paper, code in TRAINING
]


@pytest.mark.parametrize(("key", "paper", "code"), ROWS, ids=[row[0] for row in ROWS])
def test_both_presets_have_the_values_of_the_table(key: str, paper: Any, code: Any) -> None:
    for preset, expected in (("paper", paper), ("official_code", code)):
        assert reduce(getattr, key.split("."), PRESETS[preset]) == expected


def keys(node: dict[str, Any], prefix: str) -> set[str]:
    return {
        key
        for name, value in node.items()
        for key in (keys(value, f"{prefix}.{name}") if isinstance(value, dict) else {f"{prefix}.{name}"})
    }


def test_no_hyper_parameter_is_missing_in_the_table() -> None:
    """What is left out says how the work is cut up for kills, or how labels are watched, which changes none of them."""
    parts = {"questions.per_part", "labels.questions_per_part"}
    sections = ("challenger", "questions", "labels", "checks", "solver")
    known = set().union(*(keys(asdict(getattr(PRESETS["paper"], section)), section) for section in sections))
    watched = {key for key in known if key.startswith(("labels.audit.", "labels.gauges.", "labels.guard."))}
    assert {key for key, *_ in ROWS} == (known - parts - watched) | {"iterations"}


@pytest.mark.parametrize(
    ("preset", "challenger", "solver"), [("paper", (2048, 16), (2560, 20)), ("official_code", (2048, 32), (2560, 4))]
)
def test_responses_and_updates_of_a_step(preset: str, challenger: tuple[int, int], solver: tuple[int, int]) -> None:
    for training, (responses, updates) in (
        (PRESETS[preset].challenger.training, challenger),
        (PRESETS[preset].solver.training, solver),
    ):
        assert training.prompts_per_step * training.rollouts_per_prompt == responses
        assert divmod(responses, training.grpo.sequences_per_update) == (updates, 0)


def test_hardened_switches_everything_on_and_changes_nothing_else_of_the_paper() -> None:
    hardened, paper = load_config(["paper", "hardened"]), load_config(["paper"])
    assert all(getattr(hardened.checks, check) for check in CHECKS)
    reward = hardened.challenger.reward
    assert not reward.unanswered_counts_as_doubt and reward.repetition.mask_numbers
    near = hardened.labels.curation.near_duplicates
    assert near.drop and near.drop_seen and hardened.labels.curation.maximum_per_template
    # no question that the band would keep is flawed for its majority
    assert hardened.checks.minimum_majority == paper.labels.curation.low
    hardened.checks, hardened.labels.curation = paper.checks, paper.labels.curation
    reward.unanswered_counts_as_doubt, reward.repetition.mask_numbers = True, False
    assert hardened == paper


def test_rzero_plus_changes_labels_where_the_challenger_starts_and_a_kl_to_the_base() -> None:
    plus, paper = load_config(["paper", "rzero_plus"]), load_config(["paper"])
    assert [source.name for source in vote_sources(plus.labels)] == ["solver", "solver_reexpressed", "base"]
    assert {source.samples for source in vote_sources(plus.labels)} == {5}
    # A question is kept for answers that every source gives, whether or not one model alone is sure of them.
    assert plus.labels.curation.minimum_support > 1 and plus.labels.curation.band_of == "all"
    assert plus.challenger.start == "base" and has_base_reference(plus.solver.training.grpo)
    plus.labels, plus.challenger.start = paper.labels, paper.challenger.start
    plus.solver.training.grpo = paper.solver.training.grpo
    assert plus == paper


@pytest.mark.parametrize("preset", ["nano", "smollm2"])
def test_arithmetic_worlds_have_the_checks_of_the_text_and_no_bound_on_numbers(preset: str) -> None:
    config = load_config(["paper", preset])
    on = {check for check in CHECKS if getattr(config.checks, check)}
    assert on == set(CHECKS) - {"mostly_unanswered", "no_majority"}
    assert not config.challenger.reward.repetition.mask_numbers
    assert config.labels.curation.maximum_per_template is None
    assert not config.labels.curation.near_duplicates.drop


def test_the_paper_is_the_default() -> None:
    assert PRESETS["paper"] == load_config()
