"""What is spoilt in a summary is spoilt as it says, and what can't be is left alone."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.domains.summaries.corruptions import (
    CORRUPTIONS,
    broken_limit,
    exchanged_words,
    removed_sentence,
    swapped_fact,
)
from rzero_mega.domains.summaries.texts import is_short, read_summary, sentences, words

PASSAGE = (
    "Maria opened a bakery in Lisbon in 2012. At first she sold only bread, and few people came. Then a newspaper "
    "wrote about her almond cake. Within a month there were 200 customers a day. Later Pedro hired four bakers."
)
SUMMARY = "In Lisbon Maria opened a bakery in 2012. Then 200 customers came a day."


@pytest.mark.parametrize("seed", range(20))
def test_each_corruption_does_what_it_is_called(seed: int) -> None:
    removed = removed_sentence(PASSAGE, SUMMARY, Random(seed))
    assert removed in sentences(SUMMARY)
    swapped = swapped_fact(PASSAGE, SUMMARY, Random(seed))
    assert swapped is not None
    changed = [(old, new) for old, new in zip(words(SUMMARY), words(swapped), strict=True) if old != new]
    assert len(changed) == 1 and changed[0][0] in ("2012", "200")
    exchanged = exchanged_words(PASSAGE, SUMMARY, Random(seed))
    assert exchanged is not None and exchanged != SUMMARY and sorted(words(exchanged)) == sorted(words(SUMMARY))
    longer = broken_limit(PASSAGE, SUMMARY, Random(seed))
    assert longer is not None and longer.startswith(SUMMARY) and not is_short(PASSAGE, longer)
    assert sentences(longer)[2:] == [one for one in sentences(PASSAGE) if one in sentences(longer)]


def test_a_name_takes_the_place_of_a_name_where_no_number_is() -> None:
    summary = "At last the baker Maria had a shop."
    assert swapped_fact(f"{PASSAGE} The owner Maria smiled.", summary, Random(0)) in {
        summary.replace("Maria", name) for name in ("Lisbon", "Pedro")
    }
    assert swapped_fact(PASSAGE, "She sold bread.", Random(0)) is None


def test_a_number_without_another_one_in_the_passage_gets_another_digit() -> None:
    found = swapped_fact("There were 20 people.", "20 people came.", Random(0))
    assert found is not None and found != "20 people came." and found.startswith("2") and len(found) == 15


def test_what_might_not_get_worse_is_left_alone() -> None:
    rng = Random(0)
    assert removed_sentence(PASSAGE, "Maria opened a bakery.", rng) is None, "nothing would be left"
    assert removed_sentence(PASSAGE, f"{SUMMARY} Few people came.", rng) is None, "it had one too many"
    assert removed_sentence(PASSAGE, "A bakery opened. Dragons ate everybody there.", rng) is None, "no loss"
    assert removed_sentence(PASSAGE, "A bakery opened. A bakery opened.", rng) is None, "once is enough"
    assert exchanged_words(PASSAGE, "Dragons swallowed everybody there.", rng) is None
    assert broken_limit(PASSAGE, PASSAGE, rng) is None, "it is too long already"
    assert broken_limit("It rained. It rained. It rained. It rained and stopped at last.", "It rained.", rng) is None


@pytest.mark.parametrize("kind", CORRUPTIONS)
@given(
    st.lists(st.sampled_from(["Maria", "Lisbon", "opened", "bakery", "2012", "a", "200", "."]), max_size=30),
    st.integers(0, 5),
)
def test_whatever_is_spoilt_can_still_be_read_and_is_another_one(kind: str, tokens: list[str], seed: int) -> None:
    summary = read_summary(" ".join(tokens).replace(" .", ".") + ".")
    if summary is not None:
        spoilt = CORRUPTIONS[kind](PASSAGE, summary, Random(seed))
        assert spoilt is None or (read_summary(spoilt) == spoilt and spoilt != summary)
        assert spoilt == CORRUPTIONS[kind](PASSAGE, summary, Random(seed)), "by the stream alone"
