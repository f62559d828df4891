"""The report as people see it: nothing cut off, comparable scales, names for those who can't see, contrast."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from rzero_mega.coevolution.checks import Checks
from rzero_mega.coevolution.curation import reasons
from rzero_mega.domains.mathematics.checks import CHECKS
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import write_report
from rzero_mega.tracking.charts import Bars, Series, grouped_bars, histogram_chart, line_chart, stacked_rows, text_width
from rzero_mega.tracking.figures import Metric, _band, histogram_figures
from rzero_mega.tracking.report_data import gather
from rzero_mega.tracking.words import reason_text

LEAST_CONTRAST = 4.5  # WCAG 2.2, AA, for text
TEXT_COLOURS = ("ink", "muted", "blue", "orange", "green", "purple", "yellow", "grey", "good", "bad")


@pytest.fixture(scope="module")
def source(finished: RunDirectory) -> str:
    write_report(finished, finished.path / "report.html")
    return (finished.path / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def drawings(source: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(drawing) for drawing in re.findall(r"<svg.*?</svg>", source, re.DOTALL)]


def texts_outside(drawing: ElementTree.Element) -> Iterator[str]:
    _, _, width, height = map(float, drawing.attrib["viewBox"].split())
    for text in drawing.iter("text"):
        shown, x, y = text.text or "", float(text.attrib["x"]), float(text.attrib["y"])
        long = text_width(shown, bold=text.attrib.get("class") in ("end", "on-bar"))
        left = x - {"start": 0.0, "middle": long / 2, "end": long}[text.attrib.get("text-anchor", "start")]
        if left < 0 or left + long > width or y < 9 or y > height:
            yield shown


def test_no_text_leaves_its_drawing(drawings: list[ElementTree.Element]) -> None:
    assert len(drawings) > 20
    assert [text for drawing in drawings for text in texts_outside(drawing)] == []


LINES = [Series("of a long name", "blue", (((0.0, -1.0), (1.0, 1.0), (2.0, 123456789.0)),))]


@pytest.mark.parametrize(
    "drawing",
    [
        line_chart([Series("a", "blue", (((0.0, 0.975), (1.0, 1.0)),))], [(0.0, "base"), (1.0, "1")], "x", True, True),
        line_chart([Series("a", "blue", (((0.0, 0.0), (1.0, 1.0)),))], [(0.0, "base")], "x", True, end_labels=True),
        line_chart(LINES, [(float(i), f"iteration {i}") for i in range(60)], "steps", end_labels=True),
        line_chart([Series("a", "blue", (((0.0, -0.00012345), (1.0, 0.000123)),))], [(0.0, "0")], "x", end_labels=True),
        histogram_chart([0.0, 0.5, 1.0], [123456, 1], (0.3, 0.8), "p", most=99_999_999),
        grouped_bars([f"a benchmark of a very long name {i}" for i in range(9)], [Bars("a", "blue", (1.0,) * 9)]),
        stacked_rows(["a name " * 30], [Bars("a", "blue", (3.0,))], ["1000 h 07 min"], [["1000 h 07 min"]]),
    ],
)
def test_no_text_leaves_a_drawing_of_extreme_numbers_and_names(drawing: str) -> None:
    assert list(texts_outside(ElementTree.fromstring(drawing))) == []


def test_labels_of_many_iterations_do_not_touch() -> None:
    ticks = [(float(i), str(i)) for i in range(1, 101)]
    root = ElementTree.fromstring(line_chart([Series("a", "blue", (((1.0, 0.0), (100.0, 1.0)),))], ticks, "iteration"))
    labels = [text for text in root.iter("text") if text.attrib["y"] == "178.00"]
    ends = [float(text.attrib["x"]) + text_width(text.text or "") / 2 for text in labels]
    starts = [float(text.attrib["x"]) - text_width(text.text or "") / 2 for text in labels]
    assert len(labels) > 5 and all(end < start for end, start in zip(ends, starts[1:], strict=False))


def test_histograms_side_by_side_have_one_scale(finished: RunDirectory) -> None:
    roots = [ElementTree.fromstring(figure.svg) for figure in histogram_figures(gather(finished))]
    scales = {tuple(text.text for text in root.iter("text")) for root in roots}
    assert len(roots) == 3 and len(scales) == 1


@pytest.mark.parametrize("votes", [9, 10, 15])
@pytest.mark.parametrize("band", [(0.3, 0.8), (0.4, 0.8), (0.25, 0.75)])
def test_no_bar_lies_half_in_the_band(votes: int, band: tuple[float, float]) -> None:
    edges = [(2 * count - 1) / (2 * votes) for count in range(votes + 2)]
    root = ElementTree.fromstring(histogram_chart(edges, [5] * (votes + 1), band, "p"))
    shade, *bars = [rect.attrib for rect in root.iter("rect")]
    assert shade["class"] == "band"
    low, high = float(shade["x"]), float(shade["x"]) + float(shade["width"])
    for count, bar in enumerate(bars):
        left, right = float(bar["x"]), float(bar["x"]) + float(bar["width"])
        own = band[0] - 1e-9 <= count / votes <= band[1] + 1e-9
        assert (bar["opacity"] == "1.00") == own
        assert (low <= left and right <= high) if own else (right <= low or left >= high)


@pytest.mark.parametrize("mean", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_a_standard_deviation_ends_where_values_end(mean: float) -> None:
    band = _band(Metric("r", "blue", PhaseName.SOLVER, "mean", "deviation", (0.0, 1.0)), {"deviation": 0.45}, mean)
    line = Series("r", "blue", (((0.0, mean), (1.0, mean)),), ((band, band),))
    root = ElementTree.fromstring(line_chart([line], [(0.0, "0")], "x", zero=True))
    (area,) = root.iter("polygon")
    heights = [float(point.split(",")[1]) for point in area.attrib["points"].split()]
    labels = {text.text: float(text.attrib["y"]) - 3.5 for text in root.iter("text") if text.text}
    shown = [value for value in labels if re.fullmatch(r"[\d.]+", value) and labels[value] < 170]
    assert all(0 <= float(value) <= 1 for value in shown)
    assert max(heights) <= labels["0"] + 0.01
    if "1" in labels:
        assert min(heights) >= labels["1"] - 0.01


def test_every_drawing_has_a_name_of_its_own_with_its_numbers(drawings: list[ElementTree.Element]) -> None:
    assert all(drawing.attrib["role"] == "img" for drawing in drawings)
    names = [drawing.attrib["aria-label"] for drawing in drawings]
    assert len(set(names)) == len(names) and all(re.search(r"[a-z]{4}.*: .*\d", name) for name in names)
    assert "mean from 35.1 % to 47.9 %" in names[0]


def test_no_id_of_the_code_stands_in_the_page(source: str) -> None:
    shown = source[: source.index("<details><summary>config.yaml")]
    for reason in reasons(Checks(CHECKS), verified=True):
        assert "_" not in reason_text(reason)
        if "_" in reason:
            assert reason not in shown
    assert "p̂ above the band" in shown and "p̂ below the band" in shown


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("background", ["page", "card"])
def test_text_can_be_told_from_its_background(theme: int, background: str) -> None:
    sheet = (resources.files("rzero_mega.tracking") / "templates" / "report.css").read_text(encoding="utf-8")
    variables = re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)[theme]
    colours = dict(re.findall(r"--([a-z]+): #([0-9a-f]{3}(?:[0-9a-f]{3})?);", variables))
    found = {name: contrast(colours[name], colours[background]) for name in TEXT_COLOURS}
    assert {name: round(ratio, 2) for name, ratio in found.items() if ratio < LEAST_CONTRAST} == {}


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2: of relative luminances, each with 0.05 for stray light."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    full = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    shares = [int(full[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("fff", "000000") == pytest.approx(21.0)
    assert contrast("777777", "fff") == pytest.approx(4.48, abs=0.01)


def test_at_the_width_of_a_telephone_nothing_is_wider_than_the_page(source: str) -> None:
    widths = [float(drawing.split()[2]) for drawing in re.findall(r'viewBox="([^"]*)"', source)]
    assert max(widths) <= 360, "text of 11.5 px stays at that size or grows, at 400 px and more"
    style = (Path(__file__).parents[2] / "rzero_mega/tracking/templates/report.css").read_text()
    assert not [least for least in re.findall(r"minmax\((\d+)px, (?:1fr|2fr|3fr)\)", style) if int(least) > 350]
