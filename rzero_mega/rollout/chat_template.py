"""A chat template that asks a model as it was trained: one message of a user's becomes the prompt of its role.

Programs that speak OpenAI's protocol send messages and know nothing of a run's prompt files. The template puts both
together: whoever sends a question has it filled into the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from rzero_mega.rollout.tokenization import DATE, Prompt, PromptEncoder

# A private-use character, where the user's message goes.
_HERE = "\ue002"
_TRIED = ("What is 2+2?", "Let $x<3$ and {y}: 100% of \u00e4 \\frac{1}{2}\n\nWhat is x?")
_ONE_QUESTION = "this model takes one question at a time: send one message, with the role user"


def chat_template(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, takes_question: bool) -> str | None:
    """A Jinja template that makes of a single user message, token by token, the prompt that was trained on.

    A role that takes no question has one prompt, whatever the message says. Any other conversation is left to the
    model's own template where there is one, and refused where there is none. None if no such template can be made.
    """
    fields = {"question": _HERE} if takes_question else {}
    own = own_template(tokenizer)
    if prompt.raw is not None or own is None:
        text = _whole_prompt(beginning(tokenizer), prompt.plain(**fields))
    else:
        text = _before_own(prompt.messages(**fields), own)
    return text if _asks_as_trained(tokenizer, text, prompt, fields) else None


def refusing(reason: str) -> str:
    """A template that makes no prompt: the answer is an error that says why."""
    return f"{{{{- raise_exception({_literal(reason)}) }}}}"


def own_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template that a tokenizer applies by itself; None if it has none."""
    if not tokenizer.chat_template:
        return None
    template: str = tokenizer.get_chat_template()
    return template


def beginning(tokenizer: PreTrainedTokenizerBase) -> str:
    """The control tokens that the tokenizer writes before every text, as chat templates have to spell them."""
    return "".join(tokenizer.convert_ids_to_tokens(tokenizer.encode("", add_special_tokens=True)))


def rendered(tokenizer: PreTrainedTokenizerBase, template: str, question: str) -> str:
    """The prompt that the template makes of a single message."""
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], chat_template=template, add_generation_prompt=True, tokenize=False
    )
    return text


def _whole_prompt(start: str, text: str) -> str:
    return (
        '{%- if messages | length != 1 or messages[0].role != "user" -%}'
        f"{refusing(_ONE_QUESTION)}"
        "{%- endif -%}\n"
        f"{{{{- {_expression(start + text)} -}}}}"
    )


def _before_own(messages: list[dict[str, str]], own: str) -> str:
    turns = ", ".join(
        f'{{"role": {_literal(turn["role"])}, "content": {_expression(turn["content"])}}}' for turn in messages
    )
    return (
        '{%- if messages | length == 1 and messages[0].role == "user" -%}'
        f"{{%- set messages = [{turns}] -%}}"
        "{%- endif -%}"
        f"{{%- set date_string = {_literal(DATE)} %}}"
        f"{own}"
    )


def _expression(text: str) -> str:
    """The text as an expression of Jinja's, with the user's message where it goes."""
    return " ~ messages[0].content ~ ".join(map(_literal, text.split(_HERE)))


def _literal(text: str) -> str:
    """The text as a string of Jinja's, which has JSON's escapes."""
    return json.dumps(text, ensure_ascii=False)


def _asks_as_trained(
    tokenizer: PreTrainedTokenizerBase, template: str, prompt: Prompt, fields: Mapping[str, str]
) -> bool:
    """Whether servers, which write no control tokens before a conversation, come to the same tokens as rollouts did."""
    encoder: Any = PromptEncoder(tokenizer)
    for question in _TRIED:
        wanted = encoder.encode_prompt(prompt, **dict.fromkeys(fields, question))
        try:
            text = rendered(tokenizer, template, question)
        except (jinja2.TemplateError, ValueError, TypeError, KeyError):
            return False
        if tuple(tokenizer.encode(text, add_special_tokens=False)) != wanted:
            return False
    return True
