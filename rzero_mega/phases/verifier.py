"""Phase between labels and solver: the Verifier learns which answers are right, and is measured."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rzero_mega import spmd
from rzero_mega.coevolution.plan import Source, VerifierInputs, solver_batch
from rzero_mega.coevolution.records import LabelledQuestion
from rzero_mega.coevolution.streams import derive_seed
from rzero_mega.coevolution.verdicts import Measured, Rates, is_accepted
from rzero_mega.coevolution.verifier_pairs import Pair, anchored_pairs, audited_pairs, divided, known_pairs
from rzero_mega.evaluation.statistics import accuracy, mean_of
from rzero_mega.phases.budgets import longest_usable
from rzero_mega.phases.context import ActivePhase, RunContext
from rzero_mega.phases.start import Start
from rzero_mega.phases.verdict_training import BothPrompts, VerdictTask, train_on_verdicts
from rzero_mega.phases.verifying import Claim, VerdictShares, verdict_shares, verdicts_of
from rzero_mega.phases.warm_up import WarmUp, warmed_up, written_verdicts
from rzero_mega.tracking.measured import MEASURED

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What votes give a Verifier: pairs to train on, known ones to warm up on and others to measure by.

    `audited` are answers to questions on which it is not trained, with whether they are true.
    """

    trained: list[Pair]
    warm_up: list[Pair]
    measured: list[Pair]
    audited: list[tuple[Claim, bool]]


def run(ctx: RunContext, phase: ActivePhase, inputs: VerifierInputs) -> None:
    """Train V_{i-1} into V_i on the votes of the iteration, and measure whether V_i is to have a say in the next."""
    verifier = ctx.config.verifier
    material = spmd.on_rank_0(material_of, ctx, inputs.labelled)
    start = Start(inputs.verifier, inputs.base).folders(ctx)
    facts: dict[str, Any] = {"pairs": len(material.trained)}
    if verifier.warm_up.is_due(phase.directory.iteration):
        start, said = warmed_up(ctx, phase, start, _warm_up(ctx, material.warm_up))
        facts |= said
    longest = longest_usable(ctx.config, "verifier", ctx.base)
    prompts = [both for pair in material.trained if max(map(len, both := _prompts(ctx, pair))) <= longest]
    if not prompts:
        _log.warning("verifier.train: no question has a majority and another answer to learn from; it stays as it is")
    order = derive_seed(phase.seed_key("order"))
    task = VerdictTask(
        prompts,
        lambda step, count: solver_batch(len(prompts), step, count, order),
        verdicts_of(ctx).read,
        "accepted_rate",
    )
    measure = partial(_measure, ctx, phase, material)
    train_on_verdicts(ctx, phase, "verifier", start, verifier.training, task, facts, measure)


def _prompts(ctx: RunContext, pair: Pair) -> BothPrompts:
    return ctx.verifier_prompt(pair.question, pair.right), ctx.verifier_prompt(pair.question, pair.wrong)


def _warm_up(ctx: RunContext, known: Sequence[Pair]) -> WarmUp:
    """On both answers of each pair."""
    verifier = ctx.config.verifier
    shown = (one for pair in known for one in zip(_prompts(ctx, pair), (True, False), strict=True))
    examples = written_verdicts(ctx, verdicts_of(ctx).write, shown)
    return WarmUp("verifier.warm_up", verifier.warm_up, verifier, examples, len(known))


def material_of(ctx: RunContext, labelled: Source) -> Material:
    """Out of what the labels phase left. For rank 0 alone: it grades."""
    config, rows = ctx.config.verifier, ctx.records(labelled, LabelledQuestion)
    voted = [row.answered for row in rows]
    known = known_pairs(voted, config, verdicts_of(ctx).alter, ctx.config.seed)
    equal = ctx.equal_answers([(pair.right, pair.wrong) for pair in known])
    known = [pair for pair, same in zip(known, equal, strict=True) if not same]
    audited = audited_pairs(voted, config)
    truths = [rows[place].truth for place, _, _ in audited]
    # Nothing equals the empty text.
    true = ctx.equal_answers([(answer, truth or "") for (_, _, answer), truth in zip(audited, truths, strict=True)])
    claims = [
        (Claim(4 * place + 2 + number % 2, question, answer), right)
        for number, ((place, question, answer), right) in enumerate(zip(audited, true, strict=True))
        if rows[place].truth is not None
    ]
    return Material(anchored_pairs(voted, config), *divided(known, config), claims)


def _measure(ctx: RunContext, phase: ActivePhase, material: Material, model: Path) -> Mapping[str, Any]:
    """Verdicts on known pairs, and on real votes whose truth is known; for the phase's summary. For all ranks."""
    pairs = [
        Claim(4 * pair.place + number, pair.question, answer)
        for pair in material.measured
        for number, answer in enumerate((pair.right, pair.wrong))
    ]
    claims = [*pairs, *(claim for claim, _ in material.audited)]
    verdicts = verdict_shares(ctx, phase, model, claims, ctx.config.verifier.training.used_step)
    return spmd.on_rank_0(_said, ctx, material, pairs, verdicts)


def _said(
    ctx: RunContext, material: Material, pairs: Sequence[Claim], verdicts: VerdictShares | None
) -> dict[str, Any]:
    assert verdicts is not None  # on rank 0
    shares, minimum = verdicts.shares, ctx.config.verifier.gate.minimum
    right, wrong = ([shares[claim.number] for claim in pairs[number::2]] for number in (0, 1))
    rates, intervals = Rates.of(right, wrong), {}
    if pairs:
        accepted = [[float(is_accepted(share)) for share in of_kind] for of_kind in (right, wrong)]
        not_accepted = [1 - value for value in accepted[1]]
        found = {
            "true_accept": accuracy(accepted[0]),
            "false_accept": accuracy(accepted[1]),
            "balanced_accuracy": mean_of([accepted[0], not_accepted]),
        }
        intervals = {name: (one.low, one.high) for name, one in found.items()}
    audit = None
    if material.audited:
        truly = [[shares[c.number] for c, true in material.audited if true is kind] for kind in (True, False)]
        audit = Rates.of(*truly)
    balanced = rates.balanced_accuracy
    takes_part = balanced is not None and balanced >= minimum
    measured = Measured(rates, takes_part, verdicts.unread_share, intervals, audit)
    _log.info(
        "verifier: balanced accuracy %s on %d known pairs; it %s in the next labels",
        "unknown" if balanced is None else f"{balanced:.3f}",
        rates.right,
        "has a say" if takes_part else f"has no say (verifier.gate.minimum {minimum:g})",
    )
    return {MEASURED: measured.as_json(), "verdict_costs": verdicts.cost.as_json()}
