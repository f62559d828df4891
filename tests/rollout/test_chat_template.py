"""Whoever sends one message gets the prompt that the model was trained on, whatever template the model came with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
from transformers import AutoTokenizer

from rzero_mega.assets import nano_base_path
from rzero_mega.coevolution.prompts import PromptTemplate
from rzero_mega.domains.prompts import load_prompt
from rzero_mega.rollout.chat_template import beginning, chat_template, refusing, rendered
from rzero_mega.rollout.tokenization import PromptEncoder
from tests.rollout.chat_templates import PUBLISHED, PublishedModel

QUESTION = 'What is {{ 2 }} + "3"?\n{% if %} \\boxed{x} \u00e9'
HOSTILE = PromptTemplate(system='{{ 1 }} {% raw %} "quoted" \\n \\boxed{} \U0001f600', user="<{question}>\n{question}")
PROMPTS = [load_prompt("math_solver"), load_prompt("smollm2_solver"), load_prompt("nano_solver"), HOSTILE]


@pytest.fixture(params=PUBLISHED, ids=lambda model: model.name)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    model: PublishedModel = request.param
    model.write(tmp_path)
    return AutoTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.source)
def test_a_question_gets_the_prompt_that_the_solver_was_trained_on(tokenizer: Any, prompt: PromptTemplate) -> None:
    template = chat_template(tokenizer, prompt, takes_question=True)
    assert template is not None
    tokens = tokenizer.encode(rendered(tokenizer, template, QUESTION), add_special_tokens=False)
    assert tuple(tokens) == PromptEncoder(tokenizer).encode_prompt(prompt, question=QUESTION)


def test_a_challenger_has_one_prompt_whatever_it_is_told(tokenizer: Any) -> None:
    prompt = load_prompt("math_challenger")
    template = chat_template(tokenizer, prompt, takes_question=False)
    assert template is not None
    tokens = tokenizer.encode(rendered(tokenizer, template, "go on"), add_special_tokens=False)
    assert tuple(tokens) == PromptEncoder(tokenizer).encode_prompt(prompt)


def test_another_conversation_is_the_model_s_own_affair(tokenizer: Any) -> None:
    template = chat_template(tokenizer, load_prompt("math_solver"), takes_question=True)
    assert template is not None
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    if not tokenizer.chat_template:
        with pytest.raises(jinja2.TemplateError, match="one question at a time"):
            tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
        return
    options: dict[str, Any] = {"tokenize": False, "date_string": "26 Jul 2024", "add_generation_prompt": True}
    ours = tokenizer.apply_chat_template(turns, chat_template=template, **options)
    assert ours == tokenizer.apply_chat_template(turns, **options)


def test_a_template_that_cannot_ask_as_trained_is_not_made(tmp_path: Path) -> None:
    PUBLISHED[0].write(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.chat_template = "{{ messages[-1].content }}{{ range(100000) | random }}"
    assert chat_template(tokenizer, PromptTemplate(user="{question}"), takes_question=True) is None


def test_nano_is_asked_by_its_bare_prompt() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(nano_base_path())
    template = chat_template(tokenizer, load_prompt("nano_solver"), takes_question=True)
    assert template is not None
    assert beginning(tokenizer) == ""
    assert rendered(tokenizer, template, "1+2") == "Q:1+2\nA:"


def test_a_refusing_template_says_why() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(nano_base_path())
    with pytest.raises(jinja2.TemplateError, match='it has "none"'):
        rendered(tokenizer, refusing('it has "none"'), "1+2")
