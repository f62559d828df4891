"""Gauges beside what they are to tell, as tables: a row per iteration, the base first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.label_guard import Decision
from rzero_mega.coevolution.label_quality import NOT_KNOWN, LabelQuality
from rzero_mega.tracking.summaries import NOTHING, percent

Stage = tuple[str, Gauges | None, LabelQuality, Decision | None]
"""An iteration: how it is called, and what there is of its gauges, of its labels' worth and of the guard's decision."""

SHORT = (
    "iteration",
    "signal-\nweighted",
    "net\nof 100",
    "p̂ when\nwrong",
    "agrees\nin band",
    "entropy",
    "greedy\n= vote",
    "vote\ntrue",
)
"""Headings for a terminal of 80 columns."""

LONG = (
    "iteration",
    "signal-weighted",
    "net of 100",
    "p̂ when wrong",
    "agrees in band",
    "of",
    "agrees",
    "entropy",
    "mean p̂",
    "greedy = vote",
    "vote true",
    "in band",
    "greedy true",
    "guard",
)
"""Headings of the report's table."""


def stages(found: Iterable[tuple[int, Gauges | None, Gauges | None, LabelQuality, Decision | None]]) -> list[Stage]:
    """Iterations, each with its gauges and the base's, and before them the base; none where nothing is known of any."""
    rows: list[Stage] = []
    base: Gauges | None = None
    for iteration, gauges, of_base, quality, decision in found:
        if iteration == 0 or (gauges is None and quality == NOT_KNOWN):
            continue
        base = base or of_base
        rows.append((str(iteration), gauges, quality, decision))
    return [("base", base, NOT_KNOWN, None), *rows] if base is not None else rows


def short_rows(found: Sequence[Stage]) -> list[tuple[str, ...]]:
    """Cells in the order of SHORT."""
    return [
        (
            name,
            percent(quality.signal_weighted_accuracy),
            net_text(quality),
            decimal(quality.p_hat_wrong),
            percent(gauges.agreement_in_band if gauges else None, 0),
            decimal(gauges.entropy if gauges else None),
            percent(gauges.greedy_agreement if gauges else None, 0),
            percent(gauges.vote_accuracy if gauges else None, 0),
        )
        for name, gauges, quality, _ in found
    ]


def long_rows(found: Sequence[Stage]) -> list[tuple[str, ...]]:
    """Cells in the order of LONG."""
    rows = []
    for name, gauges, quality, decision in found:
        own = (percent(quality.signal_weighted_accuracy), net_text(quality), decimal(quality.p_hat_wrong))
        read: tuple[str, ...] = (NOTHING,) * 9
        if gauges is not None:
            read = (
                percent(gauges.agreement_in_band),
                str(gauges.in_band),
                percent(gauges.agreement),
                decimal(gauges.entropy),
                decimal(gauges.p_hat),
                percent(gauges.greedy_agreement),
                percent(gauges.vote_accuracy),
                percent(gauges.vote_accuracy_in_band),
                percent(gauges.greedy_accuracy),
            )
        rows.append((name, *own, *read, decision_text(decision)))
    return rows


def guard_lines(found: Iterable[tuple[int, Decision | None]]) -> list[str]:
    """A line for each iteration that is not sound."""
    return [
        f"iteration {iteration} not sound ({decision.action}): {'; '.join(decision.reasons)}"
        for iteration, decision in found
        if decision is not None and not decision.sound
    ]


def decision_text(decision: Decision | None) -> str:
    """In a word or two."""
    if decision is None:
        return NOTHING
    if decision.sound:
        return "sound"
    done = {
        "warn": "not sound: warned",
        "stop": "not sound: ended",
        "widen": "not sound: widened",
        "roll_back": f"not sound: back to {decision.start or 'the base'}",
    }
    return done.get(decision.action, "not sound")


def net_text(quality: LabelQuality) -> str:
    """Net corrections with their sign."""
    net = quality.net_corrections
    return NOTHING if net is None else f"{net:+.1f}".replace("-", "\N{MINUS SIGN}")


def decimal(value: float | None) -> str:
    """Two places."""
    return NOTHING if value is None else f"{value:.2f}"
