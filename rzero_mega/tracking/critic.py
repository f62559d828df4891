"""What a run's Critics were measured to do, as their phases left it."""

from __future__ import annotations

from collections.abc import Iterable

from rzero_mega.coevolution.comparisons import OrderEffects
from rzero_mega.coevolution.critic_measures import MeasuredCritic
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, RunDirectory
from rzero_mega.tracking.measured import measured_by, measured_if_sound
from rzero_mega.tracking.summaries import NOTHING, percent


def critic_in(manifest: Manifest | None) -> MeasuredCritic | None:
    """Out of a critic phase's manifest, to be shown; None where it has nothing that can be read."""
    return measured_if_sound(manifest, MeasuredCritic)


def measured_critic(run: RunDirectory, iteration: int) -> MeasuredCritic:
    """That of an iteration's Critic, to go by. UserError as `measured_by`."""
    return measured_by(run, iteration, PhaseName.CRITIC, MeasuredCritic)


Found = Iterable[tuple[int, MeasuredCritic | None]]
"""Iterations with their Critic."""

_OF_ORDER = ("names the first", "orders agree", "unread")
"""What verdicts on two answers owe to their order."""


def critic_headings(found: Found) -> tuple[str, ...]:
    """Of the report's table: how it orders pairs, by kind, and what else was measured."""
    before, after = ("Critic of iteration",), ("takes part", "length", "order as the first", "shift", "hidden quality")
    return (*before, *_kinds(found), *after, *(_OF_ORDER if _has_order(found) else ()))


def critic_rows(found: Found) -> list[tuple[str, ...]]:
    """Cells in the order of the headings."""
    given = [(iteration, measured) for iteration, measured in found if measured is not None]
    kinds, order = _kinds(given), _has_order(given)
    return [
        (str(iteration), *_cells(measured, kinds), *(_of_order(measured.order) if order else ()))
        for iteration, measured in given
    ]


def critic_lines(found: Found) -> list[str]:
    """A line for each Critic, for the terminal."""
    lines = []
    for iteration, measured in found:
        if measured is None:
            continue
        kinds = [
            f"{kind} {percent(of_kind.share)}{' (closed)' if kind in measured.closed else ''}"
            for kind, of_kind in measured.kinds.items()
        ]
        said = f"C{iteration}: right order of {', '.join(kinds) or 'no pair'}"
        if measured.order is not None:
            cells = _of_order(measured.order)
            said += "; " + ", ".join(f"{name} {cell}" for name, cell in zip(_OF_ORDER, cells, strict=True))
        lines.append(said if measured.takes_part else f"{said}; kept out by critic.gate")
    return lines


def _has_order(found: Found) -> bool:
    return any(measured is not None and measured.order is not None for _, measured in found)


def _of_order(order: OrderEffects | None) -> tuple[str, ...]:
    shares = (None, None, None) if order is None else (order.position_bias, order.agreement, order.unread)
    return tuple(NOTHING if share is None else percent(share) for share in shares)


def _kinds(found: Found) -> tuple[str, ...]:
    return tuple(dict.fromkeys(kind for _, measured in found if measured is not None for kind in measured.kinds))


def _cells(measured: MeasuredCritic, kinds: Iterable[str]) -> tuple[str, ...]:
    shares = [
        NOTHING if found is None else f"{percent(found.share)} of {found.pairs}"
        for found in (measured.kinds.get(kind) for kind in kinds)
    ]
    drift = measured.drift
    return (
        *shares,
        "yes" if measured.takes_part else "no",
        _signed(measured.length.correlation),
        _signed(drift.correlation if drift else None),
        _signed(drift.shift if drift else None),
        _signed(measured.quality),
    )


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.2f}"
