from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.records import WrittenQuestion
from rzero_mega.domains.mathematics.questions import MAX_QUESTION_CHARS, parse_question


def parse(text: str, finished: bool = True, require_boxed: bool = True) -> WrittenQuestion | None:
    return parse_question(text, finished, require_boxed)


def test_a_question_and_its_whole_own_answer_are_read() -> None:
    text = "thoughts\n<question>\nWhat is $6 \\cdot 7$?\n</question>\n\n\\boxed{\\frac{84}{2}}"
    assert parse(text) == WrittenQuestion("What is $6 \\cdot 7$?", "\\frac{84}{2}")


def test_trap_2_the_own_answer_is_not_reduced_to_its_last_character() -> None:
    question = parse("<question>q</question>\\boxed{1234}")
    assert question is not None and question.own_answer == "1234"


def test_the_last_block_and_the_last_box_count() -> None:
    text = "<question>draft</question>\\boxed{1}<question>final</question>\\boxed{2} so \\boxed{3}"
    assert parse(text) == WrittenQuestion("final", "3")


def test_text_about_the_tags_does_not_become_part_of_the_question() -> None:
    assert parse("I use <question> tags. <question>q?</question>\\boxed{1}") == WrittenQuestion("q?", "1")
    assert parse("<question>q?</question> and </question> again \\boxed{1}") == WrittenQuestion("q?", "1")
    assert parse("</question><question>q?</question>\\boxed{1}") == WrittenQuestion("q?", "1")


def test_a_box_is_needed_only_where_it_is_required() -> None:
    assert parse("<question>q</question> 7") is None
    assert parse("<question>q</question> 7", require_boxed=False) == WrittenQuestion("q", None)
    assert parse("<question>q</question>\\boxed{7", require_boxed=False) == WrittenQuestion("q", None)
    assert parse("<question>q</question>\\boxed{ }") is None


def test_a_box_within_the_question_is_not_the_own_answer() -> None:
    assert parse("<question>Fill \\boxed{x}.</question>", require_boxed=False) == WrittenQuestion(
        "Fill \\boxed{x}.", None
    )


def test_a_box_before_the_question_counts_in_a_finished_response_only() -> None:
    assert parse("\\boxed{5}<question>q</question>") == WrittenQuestion("q", "5")
    assert parse("\\boxed{5}<question>q</question>\\boxed{6", finished=False) is None


def test_missing_blank_and_overlong_questions_are_malformed() -> None:
    for text in (
        "",
        "q \\boxed{1}",
        "<question>q\\boxed{1}",
        "q</question>\\boxed{1}",
        "<question> \n </question>\\boxed{1}",
    ):
        assert parse(text) is None
    assert parse(f"<question>{'x' * MAX_QUESTION_CHARS}</question>\\boxed{{1}}") is not None
    assert parse(f"<question>{'x' * (MAX_QUESTION_CHARS + 1)}</question>\\boxed{{1}}") is None


def test_a_cut_off_response_counts_only_with_its_last_block_complete() -> None:
    assert parse("<question>What is", finished=False, require_boxed=False) is None
    assert parse("<question>a</question>\\boxed{1}<question>b", finished=False) is None
    assert parse("<question>a</question>\\boxed{1}<question>b", finished=True) == WrittenQuestion("a", "1")
    assert parse("<question>a</question>\\boxed{1} and so on", finished=False) == WrittenQuestion("a", "1")


def test_hostile_repetition_takes_linear_time() -> None:
    assert parse("<question>" * 200_000) is None
    assert parse("</question>" * 200_000) is None
    assert parse("<question>" * 100_000 + "q" + "</question>" * 100_000 + "\\boxed{1}") == WrittenQuestion("q", "1")


@given(st.lists(st.sampled_from(["<question>", "</question>", "a", " ", "\n", "b"]), max_size=14))
def test_the_block_is_the_innermost_part_of_what_a_lazy_regex_finds_last(parts: list[str]) -> None:
    text = "".join(parts)
    blocks = re.findall(r"<question>(.*?)</question>", text, re.DOTALL)
    expected = blocks[-1].split("<question>")[-1].strip() if blocks else ""
    question = parse(text, require_boxed=False)
    assert (question.text if question else "") == expected


@given(st.text(), st.booleans(), st.booleans())
def test_no_text_breaks_the_parser(text: str, finished: bool, require_boxed: bool) -> None:
    for hostile in (text, f"<question>{text}</question>\\boxed{{{text}}}"):
        question = parse(hostile, finished, require_boxed)
        assert question is None or 0 < len(question.text) <= MAX_QUESTION_CHARS
