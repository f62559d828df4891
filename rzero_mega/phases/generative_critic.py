"""A Critic that writes which of two answers is better: warmed up, trained by GRPO, and measured in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rzero_mega.coevolution.comparisons import OrderEffects, TwoAnswers, comparisons, win_shares, won
from rzero_mega.coevolution.critic_measures import Drift
from rzero_mega.coevolution.critic_pairs import RankedPair, balanced_batch
from rzero_mega.coevolution.plan import CriticInputs
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.phases.budgets import longest_usable
from rzero_mega.phases.comparing import Comparer, comparison_of
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.critic_material import Gathering, Material, Scores, facts_of, summary_of
from rzero_mega.phases.place import Place
from rzero_mega.phases.start import Start
from rzero_mega.phases.verdict_training import BothPrompts, VerdictTask, train_on_verdicts
from rzero_mega.phases.warm_up import WarmUp, warmed_up, written_verdicts


def gathering(ctx: RunContext) -> Gathering:
    """All answers to a question are compared; one fits if it does beside itself: no prompt of two that do is longer."""
    longest = longest_usable(ctx.config, "critic", ctx.base)
    return Gathering(lambda question, answer: len(ctx.critic_prompt(question, answer, answer)) <= longest, None)


def train(
    ctx: RunContext, phase: ActivePhase, inputs: CriticInputs, material: Material, closed: tuple[str, ...]
) -> None:
    """Train C_{i-1} into C_i on the material's pairs, none of which is of a `closed` kind, and measure it."""
    comparing, longest = ctx.config.critic.comparing, longest_usable(ctx.config, "critic", ctx.base)
    start = Start(inputs.critic, inputs.base).folders(ctx)
    shown = [(pair, both) for pair in material.trained if max(map(len, both := _prompts(ctx, pair))) <= longest]
    pairs, prompts = [pair for pair, _ in shown], [both for _, both in shown]
    facts = facts_of(pairs, closed)
    if comparing.warm_up.is_due(phase.directory.iteration):
        start, said = warmed_up(ctx, phase, start, _warm_up(ctx, phase, pairs, prompts))
        facts |= said
    order = derive_seed(phase.seed_key("order"))
    task = VerdictTask(
        prompts, lambda step, count: balanced_batch(pairs, step, count, order), comparison_of(ctx).read, "first_rate"
    )
    measure = partial(_measure, ctx, inputs, material, closed)
    train_on_verdicts(ctx, phase, "critic", start, comparing.training, task, facts, measure)


def _prompts(ctx: RunContext, pair: RankedPair) -> BothPrompts:
    """With the better answer first, and with it second."""
    return (
        ctx.critic_prompt(pair.question, pair.better, pair.worse),
        ctx.critic_prompt(pair.question, pair.worse, pair.better),
    )


def _warm_up(
    ctx: RunContext, phase: ActivePhase, pairs: Sequence[RankedPair], prompts: Sequence[BothPrompts]
) -> WarmUp:
    """On as many pairs as its steps take, with the shares of kinds and lengths that the steps after it have."""
    settings = ctx.config.critic.comparing.warm_up
    count = -(-settings.steps * settings.sft.sequences_per_update // 2)
    batch = balanced_batch(pairs, 1, count, derive_seed(phase.seed_key("warm up", "pairs"))) if pairs else []
    shown = (one for item in batch for one in zip(prompts[item], (True, False), strict=True))
    examples = written_verdicts(ctx, comparison_of(ctx).write, shown)
    return WarmUp("critic.comparing.warm_up", settings, ctx.config.critic, examples, len(batch))


def _measure(
    ctx: RunContext, inputs: CriticInputs, material: Material, untrained: tuple[str, ...], model: Path
) -> Mapping[str, Any]:
    """What the Critic of the folder does, which wasn't trained on some kinds, for the summary. For all ranks.

    Nothing is journalled: a phase may be resumed with other steps, and its model is another one then.
    """
    opponents, place = ctx.config.critic.comparing.opponents, Place(ctx, "solver")
    known = [TwoAnswers(pair.question, pair.better, pair.worse) for pair in material.measured]
    answered = [(question, answer) for question, answer, _ in material.answered]
    compared, fixed = comparisons(answered, opponents), comparisons(material.fixed, opponents)
    comparer, drift = Comparer(ctx, model, place), None
    told = comparer.verdicts([*known, *compared])
    if inputs.first is not None and fixed:
        now = comparer.worth(material.fixed)  # before the place has the first Critic
        drift = Drift.of_shares(Comparer(ctx, ctx.model(inputs.first), place).worth(material.fixed), now)
    place.close()
    wins = list(map(won, told))
    right, own = wins[: len(known)], wins[len(known) :]
    scores = Scores(right, [1.0 - share for share in right], win_shares(answered, compared, own))
    return summary_of(ctx, material, scores, drift, untrained, OrderEffects.of(told))
