"""Where the samples of a model end, by what its folder says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rzero_mega.domains.prompts import load_prompt
from rzero_mega.inspection.model import inspect_tokenizer
from rzero_mega.rollout.limits import stop_tokens
from rzero_mega.rollout.tokenization import PromptEncoder, load_tokenizer
from tests.rollout.chat_templates import PUBLISHED, PublishedModel

BY_NAME = {model.name: model for model in PUBLISHED}


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_samples_end_at_the_end_of_a_text_and_of_a_turn(model: PublishedModel, tmp_path: Path) -> None:
    tokenizer = model.write(tmp_path)
    assert stop_tokens(tmp_path) == {tokenizer.token_to_id(token) for token in model.stops}


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda model: model.name)
def test_published_templates_pass_the_inspection(model: PublishedModel, tmp_path: Path) -> None:
    model.write(tmp_path)
    inspect_tokenizer(tmp_path, 512, [load_prompt("math_challenger")], [load_prompt("math_solver")])


def test_a_prompt_ends_with_the_header_of_the_answer_and_not_with_an_end_of_turn(tmp_path: Path) -> None:
    tokenizer = BY_NAME["Qwen3-8B-Base"].write(tmp_path)
    encoder = PromptEncoder(load_tokenizer(tmp_path))
    tokens = encoder.encode_prompt(load_prompt("math_solver"), question="2+2?")
    assert tokenizer.decode(tokens, skip_special_tokens=False).endswith("<|im_start|>assistant\n")


def test_the_date_of_a_template_is_the_same_every_day(tmp_path: Path) -> None:
    tokenizer = BY_NAME["Llama-3.2-3B-Instruct"].write(tmp_path)
    encoder = PromptEncoder(load_tokenizer(tmp_path))
    text = tokenizer.decode(encoder.encode_prompt(load_prompt("math_challenger")), skip_special_tokens=False)
    assert "Today Date: 26 Jul 2024" in text


@pytest.mark.parametrize(
    ("template", "end"),
    [
        ("{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", "<|im_end|>"),
        ("{% for m in messages %}{{ m.content }}\n  <|im_end|>{% endfor %}", "<|im_end|>"),
        ("{% for m in messages %}{{ m.content }}\n### {% endfor %}<|im_end|>", None),
        ("{% for m in messages %}{{ m.role }}{% endfor %}<|im_end|>", None),
        ("{{ raise_exception('one turn only') if messages | length > 1 }}", None),
    ],
)
def test_the_end_of_a_turn_is_the_control_token_right_behind_it(template: str, end: str | None, tmp_path: Path) -> None:
    tokenizer = BY_NAME["Qwen3-8B-Base"].write(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": template}))
    found = PromptEncoder(load_tokenizer(tmp_path)).end_of_turn()
    assert found == (None if end is None else tokenizer.token_to_id(end))
