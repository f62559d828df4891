"""A row is taken apart into rows that are tasks themselves, and what these are worth, the row's answer is worth."""

from __future__ import annotations

from rzero_mega.domains.rewriting.parts import HALVES
from rzero_mega.domains.rewriting.rows import LONGEST_WORD, MOST_WORDS, best, is_task, measured_tasks, quality, read_row


def test_the_parts_of_a_task_are_tasks_that_ask_for_its_words() -> None:
    tasks = [task for _, task in measured_tasks(50)]
    apart = {task: HALVES.parts(task) for task in tasks if HALVES.parts(task)}
    assert len(apart) == 150, "a row of three words has a half of one"
    for task, parts in apart.items():
        assert all(map(is_task, parts)) and " ".join(parts) == task


def test_the_best_answers_to_the_parts_make_the_best_one() -> None:
    for _, task in measured_tasks(50):
        parts = HALVES.parts(task)
        assert not parts or HALVES.recombine([best(part) for part in parts]) == best(task)


def test_faults_in_the_parts_stay_in_the_whole() -> None:
    parts = HALVES.parts("ant bee cat dog")
    assert parts == ("ant bee", "cat dog")
    for answers in (("bee ant", "cat dog"), ("ant", "cat dog"), ("ant bee", "cat own dog")):
        whole = HALVES.recombine(answers)
        assert whole is not None and (quality("ant bee cat dog", whole) or 0.0) < 1.0


def test_what_is_put_together_is_an_answer_or_nothing() -> None:
    long = "a" * 60
    assert HALVES.recombine([long, long.replace("a", "b")]) is None
    assert read_row(HALVES.recombine(["x y", "y z"]) or "") == "x y z"
    assert not HALVES.parts("a b c") and not HALVES.parts("")
    assert HALVES.parts(" ".join("a" * LONGEST_WORD for _ in range(MOST_WORDS)))
