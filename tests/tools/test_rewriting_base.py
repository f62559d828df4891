"""The rewriting base: rows written with faults, documents without the benchmark's tasks, and the checkpoint."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from random import Random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from rzero_mega.assets import asset_path
from rzero_mega.domains.prompts import load_prompt
from rzero_mega.domains.rewriting.domain import read_question
from rzero_mega.domains.rewriting.rows import best, is_task, measured_tasks, quality, read_row
from tools.bases.card import facts_of
from tools.bases.rewriting.bases import REWRITING
from tools.bases.rewriting.documents import CHALLENGER_PROMPT, MAX_NEW_TOKENS, rewritten, solver_prompt
from tools.bases.rewriting.measuring import judged, measure
from tools.bases.rewriting.prediction import predicted
from tools.bases.rewriting.settings import Faults

NONE = Faults(0, 0, 0, 0, 0, 0)
WORDS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=2, max_size=8)
TASK = "dog cat dog ant"


@given(WORDS, st.integers(0, 2**32))
def test_who_makes_no_faults_writes_the_best_row(words: list[str], seed: int) -> None:
    assert rewritten(" ".join(words), Random(seed), NONE) == best(" ".join(words))


@given(WORDS, st.integers(0, 2**32))
def test_whatever_faults_are_made_what_is_written_is_a_row(words: list[str], seed: int) -> None:
    task = " ".join(words)
    written = rewritten(task, Random(seed), Faults(0.5, 0.5, 0.5, 0.5, 0.5, 0.5))
    worth = quality(task, written)
    assert read_row(written) == written and worth is not None and 0 <= worth <= 1


@pytest.mark.parametrize(
    ("faults", "written"),
    [
        (replace(NONE, unsorted=1), {"dog cat ant"}),
        (replace(NONE, stops=1), {"ant", "ant cat", "ant cat dog"}),
        (replace(NONE, repeats=1), {"ant cat dog dog"}),
        (replace(NONE, swaps=1), {"cat ant dog"}),
        (replace(NONE, forgets=1), {"ant"}),
        (replace(NONE, repeats=1, unsorted=1), {TASK}),
    ],
)
def test_each_fault_is_what_it_is_called(faults: Faults, written: set[str]) -> None:
    rng = Random(0)
    assert {rewritten(TASK, rng, faults) for _ in range(50)} == written


def test_a_misspelt_word_has_one_other_letter_at_most() -> None:
    row = rewritten(TASK, Random(0), replace(NONE, misspells=1)).split()
    others = [
        sum(one != other for one, other in zip(*pair, strict=True))
        for pair in zip(row, best(TASK).split(), strict=True)
    ]
    assert max(others) == 1


def test_documents_are_of_tasks_that_nobody_is_measured_on_in_the_domain_s_prompts() -> None:
    held_out = {best(task) for _, task in measured_tasks(100)}
    asked, some = 0, list(islice(REWRITING.documents(), 20_000))
    for document in some:
        assert len(document.completion) < MAX_NEW_TOKENS
        if document.prompt == CHALLENGER_PROMPT:
            asked += 1
            question = read_question(document.completion, True, False)
            assert question is not None
            task = question.text
        else:
            task = document.prompt.removeprefix("R:").removesuffix("\nA:")
            assert read_row(document.completion) == document.completion
        assert is_task(task) and best(task) not in held_out
    assert asked / len(some) == pytest.approx(0.15, abs=0.02)
    assert load_prompt("rewriting_challenger").plain() == CHALLENGER_PROMPT
    assert load_prompt("rewriting_solver").plain(question=TASK) == solver_prompt(TASK)


def test_in_the_documents_there_is_quality_to_gain_and_to_lose() -> None:
    found = predicted(REWRITING.settings.faults).overall
    assert found.greedy == 1.0 and found.best > found.quality + 0.2
    assert 0.65 < found.quality < 0.75
    assert found.shortest < found.quality - 0.15


def test_what_answers_are_worth_is_told_by_level_and_no_row_is_worth_nothing() -> None:
    tasks = [(1, TASK), (2, "ab cd")]
    found = judged(tasks, ["ant cat dog", "Ab"], [["ant cat dog", "ant"], ["ab cd", "!"]])
    assert (found.samples, found.overall.tasks, found.levels[1].tasks) == (2, 2, 1)
    assert (found.levels[1].greedy, found.levels[1].best, found.levels[2].greedy) == (1.0, 1.0, 0.0)
    assert found.levels[1].quality == pytest.approx((1 + 1 / 3) / 2, abs=1e-4)
    assert found.levels[1].shortest == pytest.approx(1 / 3, abs=1e-4)
    assert found.levels[1].score == pytest.approx(fmean((1 - 11 / 15, 1 - 3 / 15)), abs=1e-4)
    assert found.levels[2].quality == 0.5


def test_the_shipped_base_writes_rows_that_are_better_and_worse_as_its_card_says() -> None:
    facts = facts_of(asset_path(REWRITING.folder_name), REWRITING)
    assert facts is not None
    overall = facts["measured"]["answers"]["overall"]
    assert overall["tasks"] == 400 and 0.4 < overall["quality"] < 0.75
    assert overall["best"] > overall["quality"] + 0.15 and overall["shortest"] < overall["quality"] - 0.1
    assert overall["spread"] > 0.25
    assert facts["measured"]["questions_well_formed"] > 0.9

    folder = asset_path(REWRITING.folder_name)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert sum(parameter.numel() for parameter in model.parameters()) == facts["parameters"]
    found = measure(model, AutoTokenizer.from_pretrained(folder), 1, per_level=10, samples=4, questions=50)
    assert found.answers.overall.quality == pytest.approx(overall["quality"], abs=0.1)
    assert found.answers.overall.greedy == pytest.approx(overall["greedy"], abs=0.15)
    assert found.questions_well_formed > 0.8
