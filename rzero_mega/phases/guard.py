"""The guard at work: its decision after an evaluation, and the end of a run that it has stopped."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from rzero_mega.coevolution.label_guard import Decision, decide
from rzero_mega.coevolution.plan import PhasePlan
from rzero_mega.errors import UserError
from rzero_mega.phases.context import RunContext
from rzero_mega.tracking.gauges import decisions, gauge_history, gauges_in, halt_of
from rzero_mega.tracking.report import write_report

_log = logging.getLogger(__name__)


def guard_decision(ctx: RunContext, iteration: int, summary: Mapping[str, Any]) -> Decision | None:
    """What becomes of the run after an evaluation that came to this summary."""
    gauges = gauges_in(summary)
    if gauges is None:
        return None
    before = decisions(ctx.run).get(iteration - 1)
    history = {**gauge_history(ctx.run), iteration: gauges}
    return decide(iteration, history, ctx.config.labels.guard, before is not None and before.widened)


def tell(iteration: int, decision: Decision | None) -> None:
    """Log why an iteration is not sound, and what comes of it."""
    if decision is None or decision.sound:
        return
    consequences = {
        "widen": "from now on labels.guard.panel votes",
        "stop": "the run ends here",
        "roll_back": f"the next iteration starts from {f'S_{decision.start}' if decision.start else 'the base model'}",
    }
    said = [*decision.reasons, *([consequences[decision.action]] if decision.action in consequences else [])]
    _log.warning("labels.guard: iteration %d is not sound: %s", iteration, "; ".join(said))


def end_if_stopped(ctx: RunContext, plan: PhasePlan) -> None:
    """UserError, for rank 0 to raise, if the guard has ended the run before this phase."""
    halt = halt_of(ctx.run, ctx.config)
    if halt is None or plan.iteration <= halt.iteration:
        return
    ctx.run.event("guard_stopped", iteration=halt.iteration)
    write_report(ctx.run, ctx.run.path / "report.html")
    raise UserError(f"{ctx.run.path}: {halt}")
