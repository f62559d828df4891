"""Checks on a resolved configuration: per field from its metadata, then between fields. Every error names the key."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from rzero_mega.config.layout import ParallelLayout
from rzero_mega.config.panel import vote_sources, widened
from rzero_mega.config.schema import (
    ChallengerConfig,
    ComparingConfig,
    Config,
    EndpointConfig,
    GrpoConfig,
    LabelsConfig,
    LearnerConfig,
    SolverConfig,
    TrainingConfig,
    VerifierConfig,
)
from rzero_mega.config.schema.labelled import SFT, VOTES
from rzero_mega.config.schema.learner import ADAPTED
from rzero_mega.config.schema.verifier import USES
from rzero_mega.errors import UserError

# Past these no library that a value goes to takes it: seeds and counts, seconds (three years), other numbers.
LARGEST_INTEGER = 2**32 - 1
LARGEST_SECONDS = 1e8
LARGEST_FLOAT = 1e15


def validate(config: Config) -> None:
    """Raise UserError for the first impossible value, naming its key."""
    check_fields(config)
    _check_between(config)


def check_fields(node: Any, prefix: str = "") -> None:
    """Raise UserError for the first value that its field's metadata rules out; `prefix` precedes the names."""
    for spec in fields(node):
        key, value = prefix + spec.name, getattr(node, spec.name)
        if is_dataclass(value):
            check_fields(value, key + ".")
            continue
        choices = spec.metadata.get("choices")
        if choices and value not in choices:
            raise UserError(f"{key}: {value!r} is not one of {', '.join(choices)}")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                _check_range(key, number, spec.metadata.get("minimum"), spec.metadata.get("maximum"))


def _check_range(key: str, value: float, low: float | None, high: float | None) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}: {value} is not a finite number")
    if high is None:
        high = LARGEST_INTEGER if isinstance(value, int) else LARGEST_SECONDS if key.endswith("_s") else LARGEST_FLOAT
    low = -high if low is None else low
    shown = str(value) if abs(value) < 10**18 else "a number with 19 digits or more"
    if value < low:
        raise UserError(f"{key}: {shown} is below the smallest possible value {low}")
    if value > high:
        raise UserError(f"{key}: {shown} is above the largest possible value {high}")


def _check_labelled(config: Config) -> None:
    labelled = config.labelled
    if labelled.method != VOTES and labelled.data is None:
        raise UserError(f"labelled.data: labelled.method {labelled.method} needs it, a JSON-lines file or arithmetic:N")
    if labelled.method == VOTES and labelled.data is not None:
        raise UserError("labelled.method: labelled.data is for grpo or sft; set one of the two")
    if labelled.method != VOTES and (config.solver.start != "previous" or config.solver.accumulate):
        raise UserError(
            f"labelled.method: with {labelled.method} all iterations have the same data, and nothing adds up; set "
            "solver.start to previous and solver.accumulate to false"
        )
    if labelled.method == SFT and config.solver.training.grpo.kl_base_coefficient:
        raise UserError(
            "solver.training.grpo.kl_base_coefficient: labelled.method sft has no KL term; set it to 0, or let "
            "solver.training.average hold on to the base"
        )
    if labelled.method == SFT and config.solver.resampling_rounds:
        raise UserError("solver.resampling_rounds: labelled.method sft draws no rollouts; set it to 0")
    if labelled.method == SFT and config.solver.over_provision:
        raise UserError("solver.over_provision: labelled.method sft draws no rollouts; set it to 0")


def _check_partial_rollouts(config: Config) -> None:
    solver = config.solver
    if not solver.partial_rollouts:
        return
    if not solver.over_provision:
        raise UserError(
            "solver.partial_rollouts: nothing is stopped that could go on unless a step asks more than it takes; set "
            "solver.over_provision, for instance to 0.25, or this to 0"
        )
    if solver.training.grpo.importance_cap is None:
        raise UserError(
            "solver.training.grpo.importance_cap: answers that older weights began (solver.partial_rollouts) need one; "
            "set for instance 2.0"
        )


def _check_loss(key: str, grpo: GrpoConfig) -> None:
    if grpo.policy_loss == "gspo" and grpo.loss_aggregation != "sequence_mean":
        raise UserError(
            f"{key}.loss_aggregation: {grpo.loss_aggregation} weighs tokens, and {key}.policy_loss gspo takes a mean "
            "over sequences; set it to sequence_mean"
        )
    if grpo.policy_loss == "cispo" and grpo.dual_clip is not None:
        raise UserError(
            f"{key}.dual_clip: with {key}.policy_loss cispo no loss grows with its ratio, and there is nothing to "
            "bound; set it to null"
        )


def _check_training(key: str, training: TrainingConfig, token_budget: int, samples: bool = True) -> None:
    """`samples` says whether the phase draws rollouts."""
    if training.use_step is not None and training.use_step > training.steps:
        raise UserError(
            f"{key}.use_step: step {training.use_step} is past the last of {training.steps} steps ({key}.steps)"
        )
    if training.average.share == 1.0:
        raise UserError(f"{key}.average.share: 1 hands on the anchor and nothing of what was trained; set it below 1")
    if not samples:
        return
    if training.ahead and training.grpo.importance_cap is None:
        raise UserError(f"{key}.grpo.importance_cap: rollouts drawn ahead ({key}.ahead) need one; set for instance 2.0")
    _check_loss(f"{key}.grpo", training.grpo)
    sequences = training.prompts_per_step * training.rollouts_per_prompt
    if sequences % training.grpo.sequences_per_update:
        raise UserError(
            f"{key}.grpo.sequences_per_update: {training.grpo.sequences_per_update} does not divide the "
            f"{sequences} rollouts of a step ({key}.prompts_per_step x {key}.rollouts_per_prompt)"
        )
    if training.sampling.temperature == 0.0:
        raise UserError(
            f"{key}.sampling.temperature: 0 draws the same response every time, and there is nothing to learn from; "
            "set for instance 1.0"
        )
    response = training.sampling.max_new_tokens
    if response >= token_budget:
        raise UserError(
            f"learner.tokens_per_micro_batch: {token_budget} tokens hold no prompt beside a response of {response} "
            f"({key}.sampling.max_new_tokens); raise the one or lower the other"
        )


def _check_time_limits(config: Config) -> None:
    """Who waits for another one waits longer than the other may take, or the wrong one is blamed."""
    learner, sglang = config.learner, config.rollout.sglang
    limits = [
        ("learner.hang_timeout_s", learner.hang_timeout_s),
        ("learner.collective_timeout_s", learner.collective_timeout_s),
    ]
    if config.rollout.engine == "sglang":
        servers = [
            ("rollout.sglang.request_timeout_s", sglang.request_timeout_s),
            ("rollout.sglang.hang_timeout_s", sglang.hang_timeout_s),
        ]
        limits = servers + limits
    for (key, limit), (next_key, longer) in pairwise(limits):
        if limit >= longer:
            raise UserError(
                f"{key}: {limit:g} s must be less than {next_key}, {longer:g} s; lower it or raise the other"
            )


def _check_endpoint(key: str, endpoint: EndpointConfig) -> None:
    """An address that holds a secret is not quoted: errors are logged."""
    if endpoint.url is None:
        return
    try:
        parts = urlsplit(endpoint.url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or not endpoint.url.isprintable() or " " in endpoint.url:
        raise UserError(f"{key}.url: is no address; write for instance http://127.0.0.1:30000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            f"{key}.url: holds a user, a password or a query, which would stand in files of the run; leave them out, "
            f"and name the variable that holds the key by {key}.key_variable"
        )
    if not endpoint.model:
        raise UserError(f"{key}.model: is empty; name the model that {endpoint.url} is to be asked for")


def _check_between(config: Config) -> None:
    _check_time_limits(config)
    _check_endpoint("evaluation.judge.endpoint", config.evaluation.judge.endpoint)
    _check_endpoint("labels.audit.endpoint", config.labels.audit.endpoint)
    _check_labelled(config)
    budget = config.learner.tokens_per_micro_batch
    _check_training("challenger.training", config.challenger.training, budget)
    _check_training("solver.training", config.solver.training, budget, samples=config.labelled.method != SFT)
    _check_partial_rollouts(config)
    curation = config.labels.curation
    if curation.low > curation.high:
        raise UserError(f"labels.curation.low: {curation.low} is above labels.curation.high {curation.high}")
    _check_panel("labels.panel", config.labels)
    _check_guard(config)
    _check_replay(config)
    _check_abort_decided(config)
    _check_verifier(config, budget)
    _check_critic(config, budget)
    learner = config.learner
    roles: list[ChallengerConfig | SolverConfig | VerifierConfig | ComparingConfig] = [config.challenger, config.solver]
    roles += [config.verifier] if config.verifier.train else []
    roles += [config.critic.comparing] if config.critic.generative else []
    longest = max(role.training.steps for role in roles)
    longest = max(longest, config.critic.steps if config.critic.scalar else 0)
    if max(learner.profile, default=0) > longest:
        raise UserError(f"learner.profile: step {max(learner.profile)} is past the last of {longest} steps")
    ParallelLayout.from_config(learner.layout, learner.processes)
    ahead = any(role.training.ahead for role in roles)
    if learner.offload != "none" and ahead and config.rollout.engine == "sglang":
        raise UserError(
            "learner.offload: rollouts drawn ahead (challenger.training.ahead, solver.training.ahead) run while the "
            "learner trains; set it to none"
        )
    if config.placement.servers == "colocated" and ahead and config.rollout.engine == "sglang":
        raise UserError(
            "placement.servers: colocated servers give their memory back while the learner trains, and can't draw "
            "rollouts ahead (challenger.training.ahead, solver.training.ahead); set it to split"
        )
    if learner.fp8.parameters and learner.fp8.format == "none":
        raise UserError("learner.fp8.parameters: needs learner.fp8.format e4m3 or hybrid; set it to false")
    _check_lora(learner)


def _check_lora(learner: LearnerConfig) -> None:
    lora = learner.lora
    unknown = next((name for name in lora.modules if name not in ADAPTED), None)
    if unknown is not None:
        raise UserError(f"learner.lora.modules: {unknown!r} is not one of {', '.join(ADAPTED)}")
    if lora.rank is None:
        return
    if not lora.modules:
        raise UserError("learner.lora.modules: names no layer, and nothing would train; name one, or set rank to null")
    if learner.fp8.format != "none":
        raise UserError("learner.lora.rank: no adapters beside weights in FP8; set learner.fp8.format to none")


def _check_verifier(config: Config, token_budget: int) -> None:
    verifier = config.verifier
    if not verifier.train:
        return
    if config.labelled.method != VOTES:
        raise UserError(
            f"verifier.train: a Verifier learns from votes, and with labelled.method {config.labelled.method} nobody "
            "votes; set it to false"
        )
    unknown = next((use for use in verifier.use if use not in USES), None)
    if unknown is not None:
        raise UserError(f"verifier.use: {unknown!r} is not one of {', '.join(USES)}")
    _check_halves("verifier.training.prompts_per_step", verifier.training, "answers that count as right")
    _check_training("verifier.training", verifier.training, token_budget)


def _check_halves(key: str, training: TrainingConfig, shown: str) -> None:
    if training.prompts_per_step % 2:
        raise UserError(f"{key}: {training.prompts_per_step} is odd, and half of them show {shown}; make it even")


def _check_critic(config: Config, token_budget: int) -> None:
    critic = config.critic
    if not critic.train:
        return
    if config.labelled.method != VOTES:
        raise UserError(
            f"critic.train: a Critic learns from answers to the run's own questions, and with labelled.method "
            f"{config.labelled.method} there are none; set it to false"
        )
    if critic.generative:
        _check_comparing(config, token_budget)
        why = "no verdict of a generative Critic is drawn while the learner trains"
    else:
        _check_scalar_critic(config.learner)
        why = "answers are scored by the processes of the learner, which trains while rollouts are drawn ahead"
    for role in ("challenger", "solver"):
        if getattr(config, role).training.ahead:
            raise UserError(f"{role}.training.ahead: {why}; set it to 0")


def _check_scalar_critic(learner: LearnerConfig) -> None:
    if learner.layout.cp > 1:
        raise UserError(
            "learner.layout.cp: the two answers of a Critic's pair are in one micro-batch, whose tokens context "
            "parallelism would spread; set it to 1"
        )
    if learner.lora.rank is not None:
        raise UserError(
            "learner.lora.rank: a Critic's head is no adapter, and would not train beside them; set it to null"
        )
    if learner.fp8.format != "none":
        raise UserError(
            "learner.fp8.format: a Critic that scores goes to host memory and back, which is not there for weights in "
            "FP8; set it to none"
        )


def _check_comparing(config: Config, token_budget: int) -> None:
    critic, comparing = config.critic, config.critic.comparing
    if comparing.opponents % 2:
        raise UserError(
            f"critic.comparing.opponents: {comparing.opponents} is odd, and an answer is compared with as many before "
            "it as after it; make it even"
        )
    if critic.remove_length:
        raise UserError(
            "critic.remove_length: a share of won comparisons has ends that what is removed would push it past; set it "
            "to false, or critic.form to scalar"
        )
    if critic.weight and config.challenger.train and config.challenger.reward.uncertainty == "shortfall":
        raise UserError(
            "challenger.reward.uncertainty: shares of won comparisons lack one half on average, whatever the answers "
            "are worth; set it to spread"
        )
    _check_halves("critic.comparing.training.prompts_per_step", comparing.training, "the better answer first")
    _check_training("critic.comparing.training", comparing.training, token_budget)


def _check_replay(config: Config) -> None:
    if not config.labels.replay.questions:
        return
    if config.solver.accumulate:
        raise UserError(
            "labels.replay.questions: with solver.accumulate all earlier questions are trained on anyway; set it to 0, "
            "or solver.accumulate to false"
        )
    if config.labels.label == "truth":
        raise UserError(
            "labels.replay.questions: votes say whether an earlier label still stands, and true labels (labels.label) "
            "always do; set it to 0, or labels.label to votes"
        )


def _check_abort_decided(config: Config) -> None:
    labels = config.labels
    if not labels.abort_decided:
        return
    readers = {
        "labels.panel": labels.panel.votes > 0,
        "labels.guard.panel": labels.guard.panel.votes > 0,
        "labels.replay.questions": labels.replay.questions > 0,
        "verifier.train": config.verifier.train,
    }
    named = [key for key, reads in readers.items() if reads]
    if named:
        raise UserError(
            f"labels.abort_decided: with {', '.join(named)} more is read from the votes on a question than whether the "
            "band has it; set it to false"
        )


def _check_guard(config: Config) -> None:
    guard, labelled = config.labels.guard, config.labelled.method
    if guard.action in ("widen", "stop", "roll_back"):
        if labelled != VOTES:
            raise UserError(
                f"labels.guard.action: {guard.action} goes by the gauges of votes, and with labelled.method {labelled} "
                "nobody votes; set it to off"
            )
        if not config.labels.gauges.questions:
            raise UserError(
                f"labels.guard.action: {guard.action} goes by gauges, which are off; raise labels.gauges.questions"
            )
    if guard.action == "roll_back" and config.solver.accumulate:
        raise UserError(
            "labels.guard.action: after a roll_back solver.accumulate would go on training on the labels that the run "
            "has gone back behind; set it to stop or widen, or solver.accumulate to false"
        )
    if guard.action == "widen" and not guard.panel.votes:
        raise UserError("labels.guard.panel: gives nobody a vote; with action widen set for instance {base: 5}")
    # Whatever the action: a panel that was widened stays so when that is changed.
    if guard.panel.votes:
        _check_panel("labels.guard.panel", widened(config).labels)


def _check_panel(key: str, labels: LabelsConfig) -> None:
    """`key` is what `labels.panel` is called in the configuration."""
    panel, samples, sources = labels.panel, labels.votes.samples, vote_sources(labels)
    own = samples - panel.votes
    if own < 0 or (own == 0 and labels.curation.band_of == "solver"):
        raise UserError(
            f"{key}: gives away {panel.votes} votes of {samples} (labels.votes.samples); "
            "lower its numbers or raise labels.votes.samples"
        )
    if panel.votes and labels.votes.unanswered != "denominator":
        raise UserError("labels.votes.unanswered: a panel counts votes for answers only; set it to denominator")
    fewest = min(sources, key=lambda source: source.samples)
    if len(sources) > 1 and fewest.samples < labels.curation.minimum_support:
        raise UserError(
            f"labels.curation.minimum_support: is {labels.curation.minimum_support}, and by {key} the source "
            f"{fewest.name} has {fewest.samples} of {samples} votes: no question would be kept; lower the one or raise "
            "the other"
        )
    _check_weighing(key, labels)


def _check_weighing(panel_key: str, labels: LabelsConfig) -> None:
    alone = labels.panel.votes in (0, labels.votes.samples)
    for key, asked, off in (("selection", labels.selection, "band"), ("weighting", labels.weighting, "none")):
        if asked != off and alone:
            raise UserError(
                f"{panel_key}: labels.{key} {asked} compares sources of votes, the Solver's on the question as it "
                "stands and others; give a part of labels.votes.samples to another one, for instance to base"
            )
    if labels.label == "truth" and labels.weighting != "none":
        raise UserError("labels.weighting: true labels (labels.label) are all sure; set it to none")
    if labels.selection == "teaching_value" and labels.teaching.share == 0.0:
        raise UserError("labels.teaching.share: 0 keeps no question; set for instance 0.25")
