"""Rows of words: tasks, answers, and what an answer is worth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.domains.registry import built_in_benchmark
from rzero_mega.domains.rewriting.domain import REWRITING, read_question
from rzero_mega.domains.rewriting.rows import LEVELS, best, brevity, is_task, measured_tasks, quality, read_row

TASK = "cat dog ant dog"
WORDS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=8)


def test_the_best_answer_has_every_word_once_in_the_order_of_the_alphabet() -> None:
    assert best(TASK) == "ant cat dog" and quality(TASK, "ant cat dog") == 1.0


@pytest.mark.parametrize(
    ("answer", "worth"),
    [
        # kept * (different + ordered + short) / 3
        ("ant cat dog dog", 1 * (3 / 4 + 1 + 11 / 15) / 3),
        ("dog cat ant", 1 * (1 + 0 + 1) / 3),
        ("cat dog ant dog", 1 * (3 / 4 + 2 / 3 + 11 / 15) / 3),
        ("ant dog", 2 / 3),
        ("ant", 1 / 3),
        ("a", 0.0),
        ("ant cat dog owl", 3 / 4 * (1 + 1 + 11 / 15) / 3),
    ],
)
def test_what_is_lost_repeated_disordered_or_added_takes_a_part_away(answer: str, worth: float) -> None:
    assert quality(TASK, answer) == pytest.approx(worth)


def test_the_shortest_answer_has_the_best_score_and_hardly_any_quality() -> None:
    assert brevity(TASK, "a") > brevity(TASK, "ant cat dog") > brevity(TASK, TASK) == 0.0
    assert quality(TASK, "a") == 0.0


@given(WORDS, WORDS)
def test_scores_and_qualities_are_shares_and_nothing_beats_the_best(asked: list[str], said: list[str]) -> None:
    question, answer = " ".join(asked), " ".join(said)
    found = quality(question, answer)
    assert found is not None and 0.0 <= found <= 1.0 and quality(question, best(question)) == 1.0
    assert 0.0 <= brevity(question, answer) <= 1.0
    assert (found == 1.0) == (answer == best(question))


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_has_a_score(question: str, answer: str) -> None:
    assert 0.0 <= brevity(question, answer) <= 1.0
    assert (quality(question, answer) is None) == (not is_task(question) or not answer.split())


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("<question>cat dog</question>", "cat dog"),
        (" <question>cat dog</question>\n", "cat dog"),
        ("<question>cat</question>", None),
        ("<question>cat  dog</question>", None),
        ("<question>Cat dog</question>", None),
        ("<question>mouse dog</question>", None),
        ("<question>a b c d e f g h i</question>", None),
        ("<question>cat dog</question> more", None),
        ("<question>", None),
        ("cat dog", None),
    ],
)
def test_a_task_is_the_whole_of_a_response(text: str, task: str | None) -> None:
    found = read_question(text, True, False)
    assert (found and found.text) == task
    assert read_question(text, False, False) is None and read_question(text, True, True) is None


def test_an_answer_is_a_row_of_words_and_nothing_else() -> None:
    assert read_row(" ant cat\n") == "ant cat" and read_row("x") == "x"
    for text in ("", "  ", "ant, cat", "ant  cat", "Ant", "ant\ncat", "a" * 101):
        assert read_row(text) is None


def test_the_benchmark_has_a_hundred_tasks_of_each_level_none_of_them_twice() -> None:
    tasks = list(measured_tasks(100))
    assert len({task for _, task in tasks}) == 100 * len(LEVELS) == len(tasks)
    for level, task in tasks:
        words = task.split()
        assert is_task(task) and (len(words), len(words) - len(set(words))) == (
            LEVELS[level].words,
            LEVELS[level].repeated,
        )
    found = built_in_benchmark("rewriting")
    assert found is not None and found == REWRITING.benchmarks["rewriting"]
    assert [problem.question for problem in found.some(100)] == [task for _, task in tasks]
