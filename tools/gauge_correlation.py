"""How well each gauge tracks the truth: rank correlations over the iterations of runs whose truth can be computed.

    python -m tools.gauge_correlation RUN...

A gauge of iteration i is read from the answers of S_i. It is held against what S_i's vote is on the same fixed
questions, and against the labels that S_i gives in iteration i + 1. Cells are Spearman's ρ, its p-value and the number
of iterations, of all runs together; with --each there is a table for each run too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.coevolution.label_quality import LabelQuality
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking.gauges import gauge_history
from rzero_mega.tracking.label_audits import label_audits

LEAST = 3
"""Below so many iterations a correlation of ranks says nothing."""


@dataclass(frozen=True)
class Point:
    """An iteration: its gauges, and label accuracy and worth of the labels that its Solver gives in the next."""

    gauges: Gauges
    label_accuracy: float | None
    quality: LabelQuality


GAUGES: dict[str, Callable[[Gauges], float | None]] = {
    "agreement in band": lambda gauges: gauges.agreement_in_band,
    "agreement": lambda gauges: gauges.agreement,
    "greedy = vote": lambda gauges: gauges.greedy_agreement,
    "entropy": lambda gauges: gauges.entropy,
    "mean p̂": lambda gauges: gauges.p_hat,
}
TRUTHS: dict[str, Callable[[Point], float | None]] = {
    "vote in band": lambda point: point.gauges.vote_accuracy_in_band,
    "vote": lambda point: point.gauges.vote_accuracy,
    "greedy": lambda point: point.gauges.greedy_accuracy,
    "labels": lambda point: point.label_accuracy,
    "signal-weighted": lambda point: point.quality.signal_weighted_accuracy,
    "net corrections": lambda point: point.quality.net_corrections,
}


def points_of(run: RunDirectory) -> list[Point]:
    """An entry per iteration with gauges, in order."""
    found = []
    for iteration, gauges in sorted(gauge_history(run).items()):
        labels = run.phase(iteration + 1, PhaseName.LABELS).manifest()
        audit = next(iter(label_audits(run, iteration + 1, labels)), None)
        accuracy = audit.kept.accuracy if audit is not None else None
        found.append(Point(gauges, accuracy, audit.quality if audit is not None else LabelQuality()))
    return found


def cell(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    """Spearman's ρ of the pairs that are whole, for instance "+0.90 (p 0.037, n 5)"; a dash where there is none."""
    known = [(gauge, truth) for gauge, truth in pairs if gauge is not None and truth is not None]
    gauges, truths = [gauge for gauge, _ in known], [truth for _, truth in known]
    if len(known) < LEAST or len(set(gauges)) == 1 or len(set(truths)) == 1:
        return f"– (n {len(known)})"
    found = stats.spearmanr(gauges, truths)
    return f"{found.statistic:+.2f} (p {found.pvalue:.2g}, n {len(known)})"


def table(points: Sequence[Point]) -> str:
    """A row per gauge, a column per truth, in Markdown."""
    lines = [f"| gauge | {' | '.join(TRUTHS)} |", f"|{'---|' * (1 + len(TRUTHS))}"]
    for name, gauge in GAUGES.items():
        cells = [cell([(gauge(point.gauges), truth(point)) for point in points]) for truth in TRUTHS.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of all runs together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories")
    parser.add_argument("--each", action="store_true", help="a table for each run too")
    options = parser.parse_args(arguments)
    found = {path.name: points_of(RunDirectory.open_existing(path)) for path in options.runs}
    if options.each:
        for name, points in found.items():
            print(f"{name}\n\n{table(points)}\n")
    together = [point for points in found.values() for point in points]
    print(f"{len(found)} runs, {len(together)} iterations\n\n{table(together)}")


if __name__ == "__main__":
    main()
