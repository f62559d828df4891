"""What a run's Verifiers were measured to do, as their phases left it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rzero_mega.coevolution.verdicts import Measured
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import Manifest, RunDirectory
from rzero_mega.tracking.measured import measured_by, measured_if_sound
from rzero_mega.tracking.summaries import NOTHING, percent, scalar

VERDICTS = "verdicts"
"""In the summary of labels: what verdicts did there."""


def measured_in(manifest: Manifest | None) -> Measured | None:
    """Out of a verifier phase's manifest, to be shown; None where it has nothing that can be read."""
    return measured_if_sound(manifest, Measured)


def verdicts_in(manifest: Manifest | None) -> Mapping[str, Any]:
    """What verdicts did to labels, out of that phase's manifest, to be shown; nothing where it doesn't say."""
    found = manifest.summary.get(VERDICTS) if manifest is not None else None
    return found if isinstance(found, Mapping) else {}


def measured_verifier(run: RunDirectory, iteration: int) -> Measured:
    """That of an iteration's Verifier, to go by. UserError as `measured_by`."""
    return measured_by(run, iteration, PhaseName.VERIFIER, Measured)


HEADINGS = (
    "Verifier of iteration",
    "known pairs",
    "balanced",
    "true-accept",
    "false-accept",
    "unread",
    "takes part",
    "votes: true-accept",
    "votes: false-accept",
    "labels rejected",
    "overruled",
)
"""Of the report's table: what it does on known pairs, on real votes by the truth, and to the next labels."""


def verifier_rows(found: Iterable[tuple[int, Measured | None, Mapping[str, Any]]]) -> list[tuple[str, ...]]:
    """Cells in the order of HEADINGS, out of iterations with their Verifier and what verdicts did to their labels."""
    given = list(found)
    next_labels = {iteration - 1: verdicts for iteration, _, verdicts in given}
    return [
        (str(iteration), *_cells(measured, next_labels.get(iteration, {})))
        for iteration, measured, _ in given
        if measured is not None
    ]


def verifier_lines(found: Iterable[tuple[int, Measured | None, Mapping[str, Any]]]) -> list[str]:
    """A line for each Verifier, for the terminal."""
    lines = []
    for iteration, _, balanced, true, false, _, takes_part, *_, rejected, _ in verifier_rows(found):
        said = f"V{iteration}: balanced accuracy {balanced}, true-accept {true}, false-accept {false} on known pairs"
        said += "" if takes_part == "yes" else "; kept out by verifier.gate"
        lines.append(said if rejected == NOTHING else f"{said}; rejected {rejected} of the next labels")
    return lines


def _cells(measured: Measured, verdicts: Mapping[str, Any]) -> tuple[str, ...]:
    known, audit = measured.known, measured.audit
    low, high = measured.intervals.get("balanced_accuracy", (None, None))
    ends = "" if low is None or high is None else f" [{100 * low:.1f}, {100 * high:.1f}]"
    overruled = scalar(verdicts, "overruled")
    return (
        str(known.right),
        percent(known.balanced_accuracy) + ends,
        percent(known.true_accept),
        percent(known.false_accept),
        percent(measured.unread),
        "yes" if measured.takes_part else "no",
        percent(audit.true_accept if audit else None),
        percent(audit.false_accept if audit else None),
        percent(scalar(verdicts, "rejected_share")),
        NOTHING if overruled is None else f"{overruled:.0f}",
    )
