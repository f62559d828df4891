"""A verdict on two answers, by the number of the better one."""

from __future__ import annotations

import pytest

from rzero_mega.config import load_config
from rzero_mega.domains.better_of_two import COMPARISON
from rzero_mega.domains.domain import ScoredAnswers
from rzero_mega.domains.prompts import load_prompt
from rzero_mega.domains.registry import domain_of


@pytest.mark.parametrize("first", [True, False])
def test_what_is_written_is_read(first: bool) -> None:
    assert COMPARISON.read(COMPARISON.write(first)) is first


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("1", True),
        (" 2\n", False),
        (r"The first leaves out the price, so \boxed{2}", False),
        (r"It could be \boxed{2}, but no: \boxed{ 1 }", True),
        (r"\boxed{3}", None),
        (r"1, no \boxed{}", None),
        ("1 or 2", None),
        ("Summary 1", None),
        ("12", None),
        ("", None),
        ("\N{ARABIC-INDIC DIGIT ONE}", None),
    ],
)
def test_a_number_alone_or_in_the_last_box_is_a_verdict_and_nothing_else_is(text: str, verdict: bool | None) -> None:
    assert COMPARISON.read(text) is verdict


@pytest.mark.parametrize("preset", ["rewriting", "smollm2_summaries"])
def test_the_shipped_domains_of_scored_answers_have_a_generative_critic(preset: str) -> None:
    presets = ["paper", "smollm2", preset] if preset.startswith("smollm2") else ["paper", preset]
    domain = domain_of(load_config(presets, ["critic.train=true", "critic.form=generative"]))
    assert isinstance(domain.answers, ScoredAnswers) and domain.answers.comparison is COMPARISON
    assert "critic" in domain.prompts


def test_the_examples_of_summaries_end_in_verdicts_that_are_read_and_name_either() -> None:
    messages = load_prompt("summaries_critic").messages(question="P.", first="A.", second="B.")
    examples = [COMPARISON.read(message["content"]) for message in messages if message["role"] == "assistant"]
    assert examples == [True, False]
