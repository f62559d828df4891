"""The report's figures of labels' worth, and of the gauges beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rzero_mega.coevolution.gauges import Gauges
from rzero_mega.phase_name import PhaseName
from rzero_mega.tracking.figures import Curve, Figure, iteration_line, over_iterations, per_iteration
from rzero_mega.tracking.report_data import ReportData


@dataclass(frozen=True)
class _Line:
    """A gauge over the iterations; what takes the truth is dashed."""

    name: str
    colour: str
    value: Callable[[Gauges], float | None]
    dashed: bool = False


def worth_figures(data: ReportData) -> list[Figure]:
    """What labels are worth by the truth."""
    accuracy = [
        Curve("true, of kept", "blue", lambda r: r.value(PhaseName.LABELS, "label_accuracy"), dashed=True),
        Curve("signal-weighted", "purple", lambda r: r.quality.signal_weighted_accuracy),
        Curve("p̂ when wrong", "orange", lambda r: r.quality.p_hat_wrong),
    ]
    net = [Curve("net corrections", "blue", lambda r: r.quality.net_corrections)]
    note = "of kept labels: true ones, and weighted by what they teach; p̂ of all wrong ones"
    found = [
        per_iteration(data, "Labels' worth", note, accuracy, True),
        per_iteration(data, "Net corrections", "of 100 kept labels, over the Solver's greedy answers", net, False),
    ]
    return [figure for figure in found if figure is not None]


def gauge_figures(data: ReportData) -> list[Figure]:
    """What the fixed questions tell, with and without truth; from the base's votes on."""
    agreement = [
        _Line("agrees in band", "blue", lambda g: g.agreement_in_band),
        _Line("agrees with the base", "purple", lambda g: g.agreement),
        _Line("greedy = vote", "green", lambda g: g.greedy_agreement),
        _Line("vote in band is true", "grey", lambda g: g.vote_accuracy_in_band, dashed=True),
    ]
    sureness = [_Line("mean p̂", "purple", lambda g: g.p_hat)]
    truth = [
        _Line("vote", "purple", lambda g: g.vote_accuracy),
        _Line("greedy", "green", lambda g: g.greedy_accuracy),
        _Line("vote in band", "grey", lambda g: g.vote_accuracy_in_band, dashed=True),
    ]
    entropy = [_Line("entropy", "orange", lambda g: g.entropy)]
    found = [
        _figure(data, "Gauges", "without any truth; dashed what they are to tell", agreement),
        _figure(data, "Answers' entropy", "nats per question", entropy, shares=False),
        _figure(data, "Sureness", "mean p̂ of the fixed questions", sureness),
        _figure(data, "Fixed questions", "accuracy by exact truth", truth),
    ]
    return [figure for figure in found if figure is not None]


def _figure(data: ReportData, title: str, note: str, lines: Sequence[_Line], shares: bool = True) -> Figure | None:
    known = [(record.iteration, record.gauges) for record in data.gauged]
    base = next((record.base_gauges for record in data.gauged if record.base_gauges is not None), None)
    stages = [(0, base), *known]
    series = []
    for line in lines:
        values = [(number, line.value(gauges)) for number, gauges in stages if gauges is not None]
        series.append(iteration_line(line.name, line.colour, line.dashed, values))
    return over_iterations(data, title, note, series, shares)
