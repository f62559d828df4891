"""Small SVG charts, drawn by hand so that they are crisp, light, and take their colours from the page's style sheet.

Colours are names of CSS variables (`--blue`), so a page in dark mode has dark charts. Every text is escaped by
`Markup.format`. All sizes are in units of the viewBox.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rzero_mega.tracking.summaries import percent

WIDTH, HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 36
_LABEL_ROOM, _LABEL_GAP = 42, 12.5
_LEAST_SPAN = 1e-12  # what differs by less is drawn as a flat line
_LEAST_SHARES = 0.1
Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line. Each segment is drawn on its own; `spread` is a half-width around the line per point."""

    name: str
    colour: str
    segments: tuple[tuple[Point, ...], ...]
    spread: tuple[tuple[float, ...], ...] = ()
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
) -> Markup:
    """Lines over one x axis. `shares` prints percentages, `zero` includes zero, `end_labels` writes the last values."""
    right = WIDTH - _RIGHT - (_LABEL_ROOM if end_labels else 0)
    positions = [*(x for x, _ in x_ticks), *separators, *(x for line in series for x, _ in line.points)]
    x = Axis(min(positions), max(max(positions), min(positions) + 1e-9), tuple(x_ticks), _LEFT + 14, right)
    y = _value_axis(_extent(series), shares, zero, HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(x, y, x_label, right), *(_separator(x.at(value)) for value in separators)]
    # Dashed lines last: where two lines coincide, both are seen.
    parts += [_line(line, x, y, shares) for line in sorted(series, key=lambda line: line.dashed)]
    if end_labels:
        parts.append(_end_labels(series, x, y, shares))
    return _svg(parts)


def histogram_chart(edges: Sequence[float], counts: Sequence[float], band: tuple[float, float], x_label: str) -> Markup:
    """Bars over the edges of a histogram; a band of the x axis is shaded and bars centred outside it are pale."""
    ticks = tuple((value, f"{value:g}") for value in (0.0, 0.25, 0.5, 0.75, 1.0))
    x = Axis(min(0.0, edges[0]), max(1.0, edges[-1]), ticks, _LEFT + 6, WIDTH - _RIGHT)
    y = _value_axis([0.0, max(counts)], shares=False, zero=True, start=HEIGHT - _BOTTOM, end=_TOP)
    low, high = x.at(band[0]), x.at(band[1])
    shade = _format(
        '<rect class="band" x="{}" y="{}" width="{}" height="{}"/>', low, y.end, high - low, y.start - y.end
    )
    parts = [shade, _grid(x, y, x_label, WIDTH - _RIGHT)]
    for left, right, count in zip(edges, edges[1:], counts, strict=False):
        opacity = 1.0 if band[0] <= (left + right) / 2 + 1e-9 and (left + right) / 2 - 1e-9 <= band[1] else 0.4
        title = f"{left:.3g} to {right:.3g}: {count:g}"
        parts.append(
            _bar(x.at(left) + 0.75, y.at(count), x.at(right) - x.at(left) - 1.5, y.start, "purple", opacity, title)
        )
    return _svg(parts)


def grouped_bars(groups: Sequence[str], bars: Sequence[Bars], shares: bool = True) -> Markup:
    """Bars side by side per group."""
    values = [value for bar in bars for value in bar.values if value is not None]
    y = _value_axis([0.0, *values], shares, zero=True, start=HEIGHT - _BOTTOM, end=_TOP)
    x = Axis(0.0, max(len(groups), 1), (), _LEFT + 6, WIDTH - _RIGHT)
    parts = [_grid(x, y, "", WIDTH - _RIGHT)]
    width = (x.at(1) - x.at(0)) * 0.8 / max(len(bars), 1)
    room = max(3, int((x.at(1) - x.at(0)) / 6.5))
    for index, group in enumerate(groups):
        parts.append(_text(x.at(index + 0.5), HEIGHT - _BOTTOM + 14, _cut(group, room), "middle", title=group))
        for place, bar in enumerate(bars):
            value = bar.values[index]
            if value is not None:
                left = x.at(index + 0.1) + place * width
                title = f"{group}, {bar.name}: {_shown(value, shares)}"
                parts.append(_bar(left, y.at(value), width - 1, y.start, bar.colour, bar.opacity, title))
    return _svg(parts)


def stacked_rows(
    rows: Sequence[str], bars: Sequence[Bars], totals: Sequence[str], shown: Sequence[Sequence[str]]
) -> Markup:
    """Horizontal bars made of segments; `totals` is written at their ends, `shown[bar][row]` on the segments."""
    pitch, left, width = 26, 84, 1160
    longest = max((sum(bar.values[row] or 0.0 for bar in bars) for row in range(len(rows))), default=0.0) or 1.0
    parts = []
    for row, name in enumerate(rows):
        at, top = float(left), row * pitch + 4
        parts.append(_text(left - 8, top + 13, name, "end"))
        for index, bar in enumerate(bars):
            length = (bar.values[row] or 0.0) / longest * (width - left - 90)
            if length <= 0:
                continue
            title = f"{name}, {bar.name}: {shown[index][row]}"
            parts.append(_bar(at, top, max(length - 1, 0.5), top + 18, bar.colour, bar.opacity, title))
            if length > 6.2 * len(shown[index][row]) + 8:
                parts.append(_text(at + length / 2, top + 13, shown[index][row], "middle", "on-bar"))
            at += length
        parts.append(_text(at + 6, top + 13, totals[row], "start"))
    return _svg(parts, width, len(rows) * pitch + 4)


def _svg(parts: Iterable[Markup], width: int = WIDTH, height: int = HEIGHT) -> Markup:
    return Markup('<svg viewBox="0 0 {} {}" role="img">{}</svg>').format(width, height, Markup("").join(parts))


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


def _grid(x: Axis, y: Axis, x_label: str, right: float) -> Markup:
    parts = []
    for value, label in y.ticks:
        at = y.at(value)
        parts.append(
            _format('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>', float(_LEFT), float(right), at, at)
        )
        parts.append(_text(_LEFT - 6, at + 3.5, label, "end"))
    for value, label in x.ticks:
        parts.append(_text(x.at(value), HEIGHT - _BOTTOM + 14, label, "middle"))
    parts.append(_text((_LEFT + right) / 2, HEIGHT - 4, x_label, "middle", "axis"))
    return Markup("").join(parts)


def _line(line: Series, x: Axis, y: Axis, shares: bool) -> Markup:
    parts = []
    for segment, spread in zip(line.segments, line.spread, strict=False):
        above = [(x.at(px), y.at(min(py + half, y.high))) for (px, py), half in zip(segment, spread, strict=True)]
        below = [(x.at(px), y.at(max(py - half, y.low))) for (px, py), half in zip(segment, spread, strict=True)]
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
    for line in series:
        for segment, spread in zip(line.segments, line.spread, strict=False):
            for (_, y), half in zip(segment, spread, strict=True):
                values += [y - half, y + half]
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
