"""Small SVG charts, drawn by hand so that they are crisp, light, and take their colours from the page's style sheet.

Colours are names of CSS variables (`--blue`), so a page in dark mode has dark charts. Every text is escaped by
`Markup.format`. All sizes are in units of the viewBox. Margins are as wide as the labels in them: no text is cut off.
Every chart has a name for those who can't see it: what it shows, and the numbers in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from rzero_mega.tracking.summaries import percent

WIDTH, HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 36
_LABEL_GAP = 12.5
# Of text at 11.5 px, by its characters: an estimate that is rather too large for the fonts of the style sheet.
_CHARACTER, _BOLD_CHARACTER = 6.5, 7.0
_LEAST_SPAN = 1e-12  # what differs by less is drawn as a flat line
_LEAST_SHARES = 0.1
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line. Each segment is drawn on its own; `spread` has the ends of a band around the line per point."""

    name: str
    colour: str
    segments: tuple[tuple[Point, ...], ...]
    spread: tuple[tuple[Point, ...], ...] = ()
    dashed: bool = False

    @property
    def points(self) -> tuple[Point, ...]:
        """All points in order."""
        return tuple(point for segment in self.segments for point in segment)


@dataclass(frozen=True)
class Axis:
    """A linear axis: data range, ticks with labels, and the pixels that the range is drawn over."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Bars:
    """One colour of grouped or stacked bars: a value per group, None where there is none."""

    name: str
    colour: str
    values: tuple[float | None, ...]
    opacity: float = 1.0


def line_chart(
    series: Sequence[Series],
    x_ticks: Sequence[tuple[float, str]],
    x_label: str,
    shares: bool = False,
    zero: bool = False,
    separators: Sequence[float] = (),
    end_labels: bool = False,
    name: str = "",
) -> Markup:
    """Lines over one x axis. `shares` prints percentages, `zero` includes zero, `end_labels` writes the last values."""
    ends = [_shown(line.points[-1][1], shares) for line in series if line.points] if end_labels else []
    right = WIDTH - _RIGHT - (7 + max((text_width(end, bold=True) for end in ends), default=-7.0))
    positions = [*(x for x, _ in x_ticks), *separators, *(x for line in series for x, _ in line.points)]
    y = _value_axis(_extent(series), shares, zero, HEIGHT - _BOTTOM, _TOP)
    left = _left(y)
    x = Axis(min(positions), max(max(positions), min(positions) + 1e-9), tuple(x_ticks), left + 14, right)
    x = replace(x, ticks=_thinned(x))
    parts = [_grid(x, y, x_label, left, right), *(_separator(x.at(value)) for value in separators)]
    # Dashed lines last: where two lines coincide, both are seen.
    parts += [_line(line, x, y, shares) for line in sorted(series, key=lambda line: line.dashed)]
    if end_labels:
        parts.append(_end_labels(series, x, y, shares))
    return _svg(parts, _described(name, (_course(line, shares) for line in series if line.points)))


def histogram_chart(
    edges: Sequence[float],
    counts: Sequence[float],
    band: tuple[float, float],
    x_label: str,
    most: float = 0.0,
    name: str = "",
) -> Markup:
    """Bars over the edges of a histogram, on an axis for counts up to `most` at least.

    Bars centred in the band are its own and shaded as a whole, those outside are pale: a bar stands for one value of
    p̂, in its middle, and no bar lies half in the band.
    """
    ticks = tuple((value, f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0))
    y = _value_axis([0.0, most, *counts], shares=False, zero=True, start=HEIGHT - _BOTTOM, end=_TOP)
    x = Axis(min(0.0, edges[0]), max(1.0, edges[-1]), ticks, _left(y) + 6, WIDTH - _RIGHT)
    bins = list(zip(edges, edges[1:], counts, strict=False))
    inside = [band[0] - 1e-9 <= (left + right) / 2 <= band[1] + 1e-9 for left, right, _ in bins]
    parts = [_grid(x, y, x_label, _left(y), WIDTH - _RIGHT)]
    if any(inside):
        low = x.at(min(left for (left, _, _), own in zip(bins, inside, strict=True) if own))
        high = x.at(max(right for (_, right, _), own in zip(bins, inside, strict=True) if own))
        shade = '<rect class="band" x="{}" y="{}" width="{}" height="{}"/>'
        parts.insert(0, _format(shade, low, float(y.end), high - low, float(y.start - y.end)))
    for (left, right, count), own in zip(bins, inside, strict=True):
        title = f"{left:.3g} to {right:.3g}: {count:g}"
        start, width = x.at(left) + 0.75, x.at(right) - x.at(left) - 1.5
        parts.append(_bar(start, y.at(count), width, y.start, "purple", 1.0 if own else 0.5, title))
    kept = sum(count for count, own in zip(counts, inside, strict=True) if own)
    return _svg(parts, _described(name, [f"{kept:g} of {sum(counts):g} in the band"]))


def grouped_bars(groups: Sequence[str], bars: Sequence[Bars], shares: bool = True, name: str = "") -> Markup:
    """Bars side by side per group."""
    values = [value for bar in bars for value in bar.values if value is not None]
    y = _value_axis([0.0, *values], shares, zero=True, start=HEIGHT - _BOTTOM, end=_TOP)
    x = Axis(0.0, max(len(groups), 1), (), _left(y) + 6, WIDTH - _RIGHT)
    parts = [_grid(x, y, "", _left(y), WIDTH - _RIGHT)]
    width = (x.at(1) - x.at(0)) * 0.8 / max(len(bars), 1)
    room = max(1, int((x.at(1) - x.at(0)) / _CHARACTER))
    for index, group in enumerate(groups):
        parts.append(_text(x.at(index + 0.5), HEIGHT - _BOTTOM + 14, _cut(group, room), "middle", title=group))
        for place, bar in enumerate(bars):
            value = bar.values[index]
            if value is not None:
                left = x.at(index + 0.1) + place * width
                title = f"{group}, {bar.name}: {_shown(value, shares)}"
                parts.append(_bar(left, y.at(value), width - 1, y.start, bar.colour, bar.opacity, title))
    spans = [[value for value in bar.values if value is not None] for bar in bars]
    told = (
        f"{bar.name} {_shown(min(span), shares)} to {_shown(max(span), shares)}"
        for bar, span in zip(bars, spans, strict=True)
        if span
    )
    return _svg(parts, _described(name, told))


def stacked_rows(
    rows: Sequence[str],
    bars: Sequence[Bars],
    totals: Sequence[str],
    shown: Sequence[Sequence[str]],
    name: str = "",
) -> Markup:
    """Horizontal bars made of segments, each under its name and total; `shown[bar][row]` where it fits a segment."""
    pitch, left, right = 44, 2.0, WIDTH - 2.0
    longest = max((sum(bar.values[row] or 0.0 for bar in bars) for row in range(len(rows))), default=0.0) or 1.0
    parts = []
    for row, label in enumerate(rows):
        at, top = left, float(row * pitch + 17)
        room = int((right - left - text_width(totals[row]) - 8) / _CHARACTER)
        parts += [_text(left, top - 5, _cut(label, room), "start"), _text(right, top - 5, totals[row], "end")]
        for index, bar in enumerate(bars):
            length = (bar.values[row] or 0.0) / longest * (right - left)
            if length <= 0:
                continue
            title = f"{label}, {bar.name}: {shown[index][row]}"
            parts.append(_bar(at, top, max(length - 1, 0.5), top + 18, bar.colour, bar.opacity, title))
            if length > text_width(shown[index][row], bold=True) + 6:
                parts.append(_text(at + length / 2, top + 13, shown[index][row], "middle", "on-bar"))
            at += length
    told = (f"{label} {total}" for label, total in zip(rows, totals, strict=True))
    return _svg(parts, _described(name, told), height=len(rows) * pitch)


def text_width(text: str, bold: bool = False) -> float:
    """About how wide a text is."""
    return len(text) * (_BOLD_CHARACTER if bold else _CHARACTER)


def _left(y: Axis) -> float:
    """Where the grid begins, to the right of the axis' labels."""
    return max([_LEFT, *(text_width(label) + 8 for _, label in y.ticks)])


def _thinned(x: Axis) -> tuple[tuple[float, str], ...]:
    """The ticks with every second, third, ... left out, so that their labels do not touch."""
    if len(x.ticks) < 2:
        return x.ticks
    widest = max(text_width(label) for _, label in x.ticks) + 6
    pitch = (x.at(x.ticks[-1][0]) - x.at(x.ticks[0][0])) / (len(x.ticks) - 1)
    return x.ticks[:: max(1, math.ceil(widest / max(pitch, 1e-9)))]


def _described(name: str, told: Iterable[str]) -> str:
    return ": ".join(part for part in (name, "; ".join(told)) if part)


def _course(line: Series, shares: bool) -> str:
    first, last = _shown(line.points[0][1], shares), _shown(line.points[-1][1], shares)
    return f"{line.name} {last}" if len(line.points) == 1 else f"{line.name} from {first} to {last}"


def _svg(parts: Iterable[Markup], name: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    template = '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    return Markup(template).format(width, height, name, Markup("").join(parts))


def _format(template: str, *values: float | str) -> Markup:
    return Markup(template).format(*(f"{value:.2f}" if isinstance(value, float) else value for value in values))


def _text(x: float, y: float, text: str, anchor: str, style: str = "", title: str = "") -> Markup:
    hover = _format("<title>{}</title>", title) if title and title != text else Markup("")
    template = '<text x="{}" y="{}" text-anchor="{}" class="{}">{}{}</text>'
    return _format(template, float(x), float(y), anchor, style, text, hover)


def _bar(left: float, top: float, width: float, bottom: float, colour: str, opacity: float, title: str) -> Markup:
    template = (
        '<rect x="{}" y="{}" width="{}" height="{}" rx="1.5" fill="var(--{})" opacity="{}"><title>{}</title></rect>'
    )
    height = max(bottom - top, 0.0)
    return _format(template, float(left), float(top), max(float(width), 0.5), float(height), colour, opacity, title)


def _separator(x: float) -> Markup:
    return _format('<line class="separator" x1="{}" x2="{}" y1="{}" y2="{}"/>', x, x, _TOP, HEIGHT - _BOTTOM)


def _grid(x: Axis, y: Axis, x_label: str, left: float, right: float) -> Markup:
    parts = []
    for value, label in y.ticks:
        at = y.at(value)
        parts.append(_format('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', float(left), float(right), at, at))
        parts.append(_text(left - 6, at + 3.5, label, "end"))
    for value, label in x.ticks:
        parts.append(_text(x.at(value), HEIGHT - _BOTTOM + 14, label, "middle"))
    parts.append(_text((left + right) / 2, HEIGHT - 4, x_label, "middle", "axis"))
    return Markup("").join(parts)


def _line(line: Series, x: Axis, y: Axis, shares: bool) -> Markup:
    parts = []
    for segment, spread in zip(line.segments, line.spread, strict=False):
        above = [(x.at(px), y.at(high)) for (px, _), (_, high) in zip(segment, spread, strict=True)]
        below = [(x.at(px), y.at(low)) for (px, _), (low, _) in zip(segment, spread, strict=True)]
        outline = " ".join(f"{px:.2f},{py:.2f}" for px, py in [*above, *reversed(below)])
        parts.append(_format('<polygon points="{}" fill="var(--{})" opacity="0.14"/>', outline, line.colour))
    for segment in line.segments:
        path = " ".join(f"{x.at(px):.2f},{y.at(py):.2f}" for px, py in segment)
        style = "line dashed" if line.dashed else "line"
        parts.append(_format('<polyline class="{}" points="{}" stroke="var(--{})"/>', style, path, line.colour))
    radius = 2.6 if len(line.points) <= 12 else 1.6
    template = '<circle cx="{}" cy="{}" r="{}" fill="var(--{})"><title>{}: {}</title></circle>'
    for px, py in line.points:
        shown = _shown(py, shares)
        parts.append(_format(template, x.at(px), y.at(py), radius, line.colour, line.name, shown))
    return Markup("").join(parts)


def _end_labels(series: Sequence[Series], x: Axis, y: Axis, shares: bool) -> Markup:
    """The last value of each line, pushed apart where lines end close to each other."""
    ends = sorted(((y.at(line.points[-1][1]), line) for line in series if line.points), key=lambda end: end[0])
    parts, floor = [], -math.inf
    ceiling = y.start + 4 - _LABEL_GAP * len(ends)
    template = '<text x="{}" y="{}" class="end" style="fill:var(--{})">{}</text>'
    for index, (wanted, line) in enumerate(ends):
        floor = max(min(wanted, ceiling + _LABEL_GAP * (index + 1)), floor + _LABEL_GAP)
        label = _shown(line.points[-1][1], shares)
        parts.append(_format(template, x.at(line.points[-1][0]) + 7, floor + 3.5, line.colour, label))
    return Markup("").join(parts)


def _extent(series: Sequence[Series]) -> list[float]:
    values = [y for line in series for _, y in line.points]
    values += [end for line in series for spread in line.spread for ends in spread for end in ends]
    return values or [0.0, 1.0]


def _value_axis(values: Sequence[float], shares: bool, zero: bool, start: float, end: float) -> Axis:
    low, high = min(values), max(values)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low < _LEAST_SPAN:
        middle = abs(high) * 0.1 if abs(high) > _LEAST_SPAN else 1.0
        low, high = (0.0, 1.0) if zero and low >= 0 else (low - middle, high + middle)
    if shares and not zero and high - low < _LEAST_SHARES:
        # A tenth at least, so that noise does not fill the chart.
        low = max(0.0, min((low + high - _LEAST_SHARES) / 2, 1.0 - _LEAST_SHARES))
        high = max(high, low + _LEAST_SHARES)
    step = _nice_step((high - low) / 4)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    count = round((high - low) / step)
    ticks = tuple((low + index * step, _tick(low + index * step, step, shares)) for index in range(count + 1))
    return Axis(low, high, ticks, start, end)


def _nice_step(rough: float) -> float:
    magnitude: float = 10.0 ** math.floor(math.log10(rough))
    return next(factor * magnitude for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * magnitude >= rough * 0.999)


def _tick(value: float, step: float, shares: bool) -> str:
    if shares:
        return f"{100 * value:.{0 if abs(100 * step - round(100 * step)) < 1e-9 else 1}f} %"
    return compact(0.0 if abs(value) < step / 1000 else value)


def _shown(value: float, shares: bool) -> str:
    return percent(value) if shares else compact(value)


def compact(value: float) -> str:
    """A number in at most about five characters: 0.031, 12.5, 840, 1.2k, 3M."""
    size = abs(value)
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if suffix == 'k' else limit):.3g}{suffix}"
    return f"{value:.0f}" if size >= 1000 else f"{value:.3g}".replace("e-0", "e-")


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"
