"""Answers put to a Verifier: several verdicts on each, kept as they come, in one queue over all servers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rzero_mega import spmd
from rzero_mega.coevolution.verdicts import share_accepting
from rzero_mega.domains.domain import Verdicts
from rzero_mega.errors import UserError
from rzero_mega.evaluation.predictions import Response
from rzero_mega.phases.asking_queue import Ask, cost_of, responses_kept_by
from rzero_mega.phases.context import ActivePhase, InferenceContext, RunContext
from rzero_mega.phases.responses import read_by_problem
from rzero_mega.rollout.protocol import Request
from rzero_mega.tracking.label_costs import NO_COST, LabelCost

NAME = "labels/verdicts"
"""Stands in the journal where benchmarks have their names, of which none has a slash; names the random streams too."""


@dataclass(frozen=True)
class Claim:
    """An answer to a question; `number` tells it from all others in its phase, whichever of them are verified."""

    number: int
    question: str
    answer: str


@dataclass(frozen=True)
class VerdictShares:
    """Of each claim by its number the share of verdicts that accept it, None where none can be read; what that took."""

    shares: dict[int, float | None]
    verdicts: int
    unread: int
    cost: LabelCost

    @property
    def unread_share(self) -> float:
        """Share of the verdicts that nobody can read."""
        return self.unread / self.verdicts if self.verdicts else 0.0


def verdict_shares(
    ctx: RunContext, phase: ActivePhase, model: Path, claims: Sequence[Claim], after_steps: int | None = None
) -> VerdictShares | None:
    """`verifier.samples` verdicts on each claim, on rank 0; None on the others. For all ranks.

    What the phase's journal holds is not asked again, but for what it holds of the phase's own model after another
    number of steps: `after_steps` is this one's, None of a model of another phase. `Stopped` is raised if somebody has
    asked for that.
    """
    asks = _asks(ctx, phase, claims, NAME if after_steps is None else f"{NAME} after {after_steps}")
    if not asks:
        return VerdictShares({}, 0, 0, NO_COST) if spmd.rank() == 0 else None
    began = time.monotonic()
    engine = ctx.engine("solver", model)
    engine.prepare()
    loaded = time.monotonic()
    own = responses_kept_by(ctx, phase, engine, asks)
    cost = cost_of(own, began, loaded)
    return _shares(verdicts_of(ctx), own, cost) if spmd.rank() == 0 else None


def verdicts_of(ctx: InferenceContext) -> Verdicts:
    """The domain's; UserError where it has none."""
    found = ctx.domain.checkable.verdicts
    if found is None:
        raise UserError(f"verifier.train: domain {ctx.domain.name} does not say how a verdict is read (Verdicts)")
    return found


def _asks(ctx: RunContext, phase: ActivePhase, claims: Sequence[Claim], name: str) -> list[Ask]:
    verifier, asks = ctx.config.verifier, []
    for claim in claims:
        prompt, key = ctx.verifier_prompt(claim.question, claim.answer), phase.seed_key(NAME, claim.number)
        for sample in range(verifier.samples):
            request = Request(key, prompt, 1, verifier.sampling, sample, logprobs=False)
            asks.append(Ask(name, claim.number, sample, request))
    return asks


def _shares(verdicts: Verdicts, responses: Sequence[Response], cost: LabelCost) -> VerdictShares:
    found = read_by_problem(verdicts.read, responses)
    unread = sum(verdict is None for of_claim in found.values() for verdict in of_claim)
    shares = {number: share_accepting(of_claim) for number, of_claim in found.items()}
    return VerdictShares(shares, len(responses), unread, cost)
