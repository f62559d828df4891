"""How passages and summaries are read, and what the rule sees of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.domains.summaries.domain import read_question
from rzero_mega.domains.summaries.texts import is_passage, read_summary, rule, sentences, words

PASSAGE = "Maria sold bread in Lisbon. Few people came. A paper wrote about her cake. Then 200 came a day."
SUMMARY = "A paper wrote about her cake, and 200 people came a day."


def test_a_passage_is_a_finished_paragraph_of_whole_sentences() -> None:
    found = read_question(f" {PASSAGE}\n", True, require_boxed=False)
    assert found is not None and (found.text, found.own_answer) == (PASSAGE, None)
    assert read_question(PASSAGE, False, require_boxed=False) is None
    assert read_question(PASSAGE, True, require_boxed=True) is None, "none comes with an answer of its own"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Maria sold bread. Few people came. A paper wrote.",
        PASSAGE.replace(". ", ".\n", 1),
        PASSAGE[:-1],
        " ".join(["It rained."] * 13),
        " ".join([f"It {'rained' * 100}."] * 4),
    ],
)
def test_anything_else_is_no_passage(text: str) -> None:
    assert not is_passage(text)


@pytest.mark.parametrize("text", ["", "A list:\n- bread.", "It ended in the", " \n"])
def test_a_response_that_is_no_paragraph_of_whole_sentences_is_no_summary(text: str) -> None:
    assert read_summary(text) is None
    assert read_summary(f"\n{SUMMARY} ") == SUMMARY


def test_the_rule_by_hand() -> None:
    # Of its twelve words "and" is not the passage's; "people" and "200" are.
    assert rule(PASSAGE, SUMMARY) == pytest.approx(11 / 12)
    assert rule(PASSAGE, "Maria sold bread in Lisbon.") == 1.0, "copying is all that it wants"
    assert rule(PASSAGE, PASSAGE) == 0.5, "but not of everything"
    assert rule(PASSAGE, "...") == 0.0


@given(st.text(), st.text())
def test_the_rule_is_a_share_whatever_stands_there(passage: str, summary: str) -> None:
    assert 0.0 <= rule(passage, summary) <= 1.0


@given(st.lists(st.sampled_from(["It rained.", "Did it?", "No!"]), min_size=1, max_size=6))
def test_sentences_put_together_are_the_text(parts: list[str]) -> None:
    assert sentences(" ".join(parts)) == parts


def test_words_are_letters_and_digits_in_small_letters() -> None:
    assert words("Maria's cake-shop: 200 (or so) customers_only!") == [
        "maria's", "cake-shop", "200", "or", "so", "customers", "only",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a" * 100_000, "a-" * 50_000, ". " * 50_000, " " * 100_000, " Ab" * 30_000 + "."])
def test_long_texts_are_read_at_once(text: str) -> None:
    began = time.process_time()
    read_question(text, True, False)
    read_summary(text)
    rule(text, text)
    assert time.process_time() - began < 5.0
