"""The report: self-contained, escaped, right in its numbers, and there for unfinished runs too."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rzero_mega.atomic import write_json
from rzero_mega.coevolution.records import AnsweredQuestion, LabelledQuestion, WrittenQuestion
from rzero_mega.coevolution.votes import Vote
from rzero_mega.config import load_config
from rzero_mega.domains.mathematics.checks import CHECKS
from rzero_mega.errors import UserError
from rzero_mega.phase_name import PhaseName
from rzero_mega.run import RunDirectory
from rzero_mega.tracking import write_report
from rzero_mega.tracking.charts import Series, compact, histogram_chart, line_chart
from rzero_mega.tracking.exploits import CHECKED, exploit_line, exploit_rows
from rzero_mega.tracking.figures import step_figures
from rzero_mega.tracking.report import exploits_tables, verdict
from rzero_mega.tracking.report_data import answer_counts, choose_questions, gather
from tests.tracking.synthetic import HOSTILE, ITERATIONS, write_synthetic_run


class _Page(HTMLParser):
    """Tags, attributes that could load something, and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(finished: RunDirectory) -> _Page:
    write_report(finished, finished.path / "report.html")
    return _Page(finished.path / "report.html")


def test_the_page_asks_for_nothing_and_runs_nothing(page: _Page, finished: RunDirectory) -> None:
    source = (finished.path / "report.html").read_text()
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(page.tags)
    assert page.links == [] and page.handlers == []
    assert "url(" not in source and "@import" not in source and "http" not in re.sub(r"http-equiv", "", source)


def test_hostile_model_text_is_shown_as_text(page: _Page) -> None:
    assert "<script>alert('owned')</script>" in page.text and "{{ 7*7 }}" in page.text
    assert "\u202e" not in page.text and "\x1b" not in page.text


def test_the_verdict_gives_gain_iterations_and_time(finished: RunDirectory) -> None:
    assert re.fullmatch(
        r"\+12\.8 points over the base after 3 iterations: 35\.1 % → 47\.9 %, in 5 min \d\d s\.",
        verdict(gather(finished)),
    )


def test_what_the_challenger_could_exploit_is_told_by_iteration(page: _Page, finished: RunDirectory) -> None:
    data = gather(finished)
    assert exploit_line(data) == (
        "Of the questions written in iteration 3, 3.0 % have a flaw that is closed and 9.0 % only one that is counted, "
        "most often “free choice” (9.0 %, counted only); "
        "5.0 % nearly repeat another one, 4.0 % one that the Solver was trained on before."
    )
    assert exploit_line(data) in page.text
    written, training = exploits_tables(data)
    assert written.headings == ("share of the written questions", "closed", *(f"iteration {i}" for i in (1, 2, 3)))
    rows = {row[0]: row[1:] for row in written.rows}
    assert rows["a flaw that is closed"] == ("yes", "1.0 %", "2.0 %", "3.0 %")
    assert rows["a flaw that is only counted"] == ("no", "3.0 %", "6.0 %", "9.0 %")
    assert rows["several questions in one"] == ("no", "1.0 %", "2.0 %", "3.0 %")
    assert rows["near-duplicate of earlier data"][1] == "0.0 %"
    assert rows["question, characters: median / 90 % / 99 %"][1] == "150 / 300 / 900"
    trained = {row[0]: row[1:] for row in training.rows}
    assert trained["several questions in one"][1:] == ("1.2 %", "1.2 %", "1.2 %")
    assert trained["near-duplicate of earlier data"][1] == "–"
    assert trained["question, characters: median / 90 % / 99 %"][1] == "140 / – / –"
    for table in (written, training):
        assert all(len(row) == len(table.headings) for row in table.rows)


def test_every_check_has_its_row_and_says_whether_it_is_closed(finished: RunDirectory) -> None:
    assert [way.key for way in CHECKED] == list(CHECKS)
    data = replace(gather(finished), config=load_config(["paper", "hardened"]))
    assert [row[1] for row in exploit_rows(data, PhaseName.LABELS)][2:13] == ["yes"] * 11
    data = replace(data, config=load_config(["paper", "hardened"], ["ablation=no_checks"]))
    assert {row[1] for row in exploit_rows(data, PhaseName.LABELS)[1:]} == {"no", ""}


def test_every_section_is_there(page: _Page) -> None:
    for heading in ("Iterations", "Accuracy by level", "How sure the Solver is", "Training steps", "Sample questions"):
        assert heading in page.text
    for text in (
        "Label accuracy",
        "Kept questions",
        "Wall time per phase",
        "config.yaml",
        "keep_finished",
        "duplicate",
    ):
        assert text in page.text
    assert page.text.count("number of questions; band 0.3 to 0.8") == ITERATIONS
    assert page.tags.count("article") == 3 * 14
    assert page.text.count("no answer") > 10


def test_every_drawing_is_well_formed(finished: RunDirectory) -> None:
    write_report(finished, finished.path / "again.html")
    drawings = re.findall(r"<svg.*?</svg>", (finished.path / "again.html").read_text(), re.DOTALL)
    assert len(drawings) > 20
    for drawing in drawings:
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing and "inf" not in drawing


@pytest.mark.parametrize("phases", [0, 1, 2, 3, 4, 5, 6, 8])
def test_an_unfinished_run_has_a_report(tmp_path: Path, phases: int) -> None:
    with write_synthetic_run(tmp_path / "run", phases, half_next=True) as run:
        write_report(run, tmp_path / "report.html")
    page = _Page(tmp_path / "report.html")
    assert "running" in page.text and "pending" in page.text
    data = gather(run)
    if phases >= 6:
        assert "+9.1 points over the base after 1 iteration so far" in verdict(data)
    else:
        assert "no accuracy to compare" in verdict(data)


def test_summaries_without_any_key_have_a_report(tmp_path: Path) -> None:
    with write_synthetic_run(tmp_path / "run") as run:
        for phase in run.phases():
            manifest = phase.manifest()
            assert manifest is not None
            write_json(phase.path / "manifest.json", {**manifest.as_json(), "summary": {}})
            phase.metrics_path.unlink(missing_ok=True)
        write_report(run, tmp_path / "report.html")
    assert "3 of 3 iterations" in _Page(tmp_path / "report.html").text


def test_summaries_of_odd_types_have_a_report(tmp_path: Path) -> None:
    odd = {"label_accuracy": "much", "kept": [], "by_level": {"1": 3, "2": {"mean": None}}, "pass1_mean": True}
    odd |= {"p_hat_histogram": {"edges": [0, 1], "counts": [1, 2]}, "dropped": 3, "difficulty": {"mean": 0.5}}
    odd |= {"hacking": [1]}
    with write_synthetic_run(tmp_path / "run") as run:
        for phase in run.phases():
            manifest = phase.manifest()
            assert manifest is not None
            write_json(phase.path / "manifest.json", {**manifest.as_json(), "summary": odd})
        (run.phase(1, PhaseName.LABELS).path / "labelled.jsonl").write_text('{"question": 3, "answers": 7}\n[]\n{"answ')
        write_report(run, tmp_path / "report.html")


def answered(text: str, *answers: str | None) -> AnsweredQuestion:
    vote = Vote("7", answers.count("7"), len(answers), len(answers) - answers.count(None))
    return AnsweredQuestion(WrittenQuestion(text, None), vote, answers, tokens=0)


def test_samples_are_spread_over_kept_and_dropped_questions() -> None:
    rows = [LabelledQuestion(answered(str(i), "7"), "duplicate" if i % 2 else None, None, None) for i in range(200)]
    chosen = choose_questions(rows, 10)
    assert [question.kept for question in chosen] == [True] * 6 + [False] * 4
    assert len({question.answered.question.text for question in chosen}) == 10
    assert [question.answered.question.text for question in choose_questions(rows[:3], 10)] == ["0", "2", "1"]


def test_votes_count_answers_and_mark_the_label() -> None:
    counts = answer_counts(answered("q", None, "7", "8", "7", None, None))
    assert [(count.answer, count.count, count.is_label) for count in counts] == [
        ("7", 2, True),
        ("8", 1, False),
        (None, 3, False),
    ]


def test_a_report_that_cannot_be_written_is_one_line(finished: RunDirectory) -> None:
    with pytest.raises(UserError, match="a file, not a folder"):
        write_report(finished, finished.path / "run.json" / "report.html")


finite = st.floats(-1e12, 1e12)


@given(st.lists(st.tuples(st.integers(0, 9), finite), min_size=1), st.booleans(), st.booleans(), st.booleans())
@example(points=[(0, 5e-324)], shares=False, zero=True, labels=False)
@example(points=[(0, 5e-324)], shares=False, zero=False, labels=False)
def test_any_finite_numbers_can_be_drawn(
    points: list[tuple[int, float]], shares: bool, zero: bool, labels: bool
) -> None:
    line = Series("<line>", "blue", (tuple((float(x), y) for x, y in points),))
    svg = line_chart([line, line], [(0.0, "0")], "<x>", shares=shares, zero=zero, end_labels=labels)
    root = ElementTree.fromstring(svg)
    top, bottom = 0.0, 200.0
    for circle in root.iter("circle"):
        assert top <= float(circle.attrib["cy"]) <= bottom


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_bars_of_a_histogram_are_as_high_as_their_counts(counts: list[int]) -> None:
    edges = [index / len(counts) for index in range(len(counts) + 1)]
    root = ElementTree.fromstring(histogram_chart(edges, counts, (0.3, 0.8), "p"))
    heights = [float(bar.attrib["height"]) for bar in root.iter("rect") if bar.attrib.get("class") != "band"]
    largest = max(counts)
    if largest:
        assert max(heights) > 0
        for height, count in zip(heights, counts, strict=True):
            assert height == pytest.approx(max(heights) * count / largest, abs=0.02)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.03125, "0.0312"),
        (12.5, "12.5"),
        (1034.0, "1034"),
        (14_000.0, "14k"),
        (2.5e6, "2.5M"),
        (2e-6, "2e-6"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert compact(value) == text


def test_the_hostile_sample_is_in_the_fixture(finished: RunDirectory) -> None:
    assert gather(finished).trained[0].questions[0].answered.question.text == HOSTILE


def test_kl_to_the_base_and_a_rate_that_changes_have_curves_where_there_are_such(tmp_path: Path) -> None:
    config = load_config(["paper", "nano"], ["iterations=2"])
    with RunDirectory.create_or_open(tmp_path / "run", config, writer=True) as run:
        for iteration, rate in ((1, 1e-4), (2, 5e-5)):
            phase = run.phase(iteration, PhaseName.SOLVER)
            phase.begin({})
            phase.log_step(1, {"kl": 0.1, "learning_rate": rate, **({"kl_base": 0.2} if iteration == 2 else {})})
        titles = [figure.title for figure in step_figures(gather(run))]
        assert {"KL", "KL to the base", "Learning rate"} <= set(titles)
        phase.truncate_metrics(0)
        titles = [figure.title for figure in step_figures(gather(run))]
        assert "KL" in titles and not {"KL to the base", "Learning rate"} & set(titles)
