"""Prompts to tokens and back. Text that a model wrote can't forge the tokens that structure a conversation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import jinja2
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from rzero_mega.errors import UserError, first_line
from rzero_mega.rollout.bounded_template import TemplateRunsOn, bounded_rendering, check_length

# Private-use characters around the spelling of a control token in untrusted text, between marking and encoding.
OPEN, CLOSE = "\ue000", "\ue001"
# Templates of Llama 3.1 and later write today's date into the prompt unless they are given one; this is their default.
DATE = "26 Jul 2024"
# What an assistant says in the conversation that shows how a template ends a turn.
_SAID = "2+2=4"


class Prompt(Protocol):
    """What a prompt template offers. `raw` is a prompt without roles, which no chat template is applied to."""

    @property
    def raw(self) -> str | None:
        """The raw template, if this is one."""
        ...

    def messages(self, **fields: str) -> list[dict[str, str]]:
        """The filled-in chat messages (role, content)."""
        ...

    def plain(self, **fields: str) -> str:
        """The filled-in prompt as one text."""
        ...


class PromptEncoder:
    """A tokenizer's two directions: filled-in prompts to token ids, sampled ids to text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Use `tokenizer`, with its chat template if it has one."""
        self._tokenizer: Any = tokenizer
        special = sorted(
            (token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special),
            key=lambda text: (-len(text), text),
        )
        # Matches nothing when there are no control tokens.
        control = "|".join(map(re.escape, special)) or r"(?!)"
        self._control = re.compile(control)
        self._quoted_or_control = re.compile(f"{OPEN}({control}){CLOSE}|({control})")

    def encode_prompt(self, template: Prompt, **fields: str) -> tuple[int, ...]:
        """Token ids of the template filled in with `fields`.

        A prompt with roles goes through the chat template, with the header of the answer appended; a raw prompt, or
        any if the tokenizer has no chat template, is encoded as text with the tokenizer's usual beginning. The fields
        are untrusted: a control token spelled out in one is encoded as ordinary characters.
        """
        marked = {name: self._control.sub(rf"{OPEN}\g<0>{CLOSE}", text) for name, text in fields.items()}
        if template.raw is not None or not self._tokenizer.chat_template:
            return tuple(self._encode(template.plain(**marked), with_beginning=True))
        text = self._render(template.messages(**marked), add_generation_prompt=True)
        return tuple(self._encode(text, with_beginning=False))

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Token ids of a whole prompt as it stands, its control tokens included.

        The tokenizer's usual beginning goes before it, unless it begins with a control token itself.
        """
        begins = self._control.match(text) is None
        return tuple(self._tokenizer.encode(text, add_special_tokens=begins, split_special_tokens=False))

    def encode_said(self, text: str) -> tuple[int, ...]:
        """Token ids of what follows a prompt. It is untrusted: control tokens spelled out are ordinary characters."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def end_of_turn(self) -> int | None:
        """The control token that the chat template writes after what an assistant said; None if it writes none."""
        if not self._tokenizer.chat_template:
            return None
        turns = [{"role": "user", "content": "2+2=?"}, {"role": "assistant", "content": _SAID}]
        try:
            text = self._render(turns, add_generation_prompt=False)
        except UserError:
            return None  # it takes no such conversation, so it says nothing about the end of a turn
        after = text.rpartition(_SAID)[2].lstrip() if _SAID in text else ""
        control = next((match[2] for match in self._quoted_or_control.finditer(after) if match[2]), None)
        if control is None or not after.startswith(control):
            return None
        token: int = self._tokenizer.convert_tokens_to_ids(control)
        return token

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Texts of many token sequences, without special tokens."""
        if not tokens:
            return []  # transformers takes an empty batch for one empty sequence
        texts: list[str] = self._tokenizer.batch_decode(
            [list(sequence) for sequence in tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return texts

    def _render(self, messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
        try:
            with bounded_rendering():
                text: str = self._tokenizer.apply_chat_template(
                    messages, add_generation_prompt=add_generation_prompt, tokenize=False, date_string=DATE
                )
            check_length(text)
        except TemplateRunsOn as error:
            said = " ".join(" ".join(message["content"] for message in messages).split())
            raise UserError(
                f"the chat template of {self._tokenizer.name_or_path} {error} for one prompt ({said[-80:]!r}); "
                "take a template without such loops"
            ) from None
        except (jinja2.TemplateError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
            roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
            raise UserError(f"the chat template refuses a prompt with the roles {roles}: {first_line(error)}") from None
        return text

    def _encode(self, text: str, with_beginning: bool) -> list[int]:
        if not any(match[1] for match in self._quoted_or_control.finditer(text)):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=with_beginning, split_special_tokens=False)
            return ids
        ids = list(self._tokenizer.encode("", add_special_tokens=True)) if with_beginning else []
        for span, is_control in self._spans(text):
            if is_control:
                ids.append(self._tokenizer.convert_tokens_to_ids(span))
            else:
                ids.extend(self._tokenizer.encode(span, add_special_tokens=False, split_special_tokens=True))
        return ids

    def _spans(self, text: str) -> list[tuple[str, bool]]:
        """Cut at the control tokens that the template wrote; the others lose their marks and stay in the text.

        This is how a tokenizer itself proceeds: text between control tokens is encoded piece by piece.
        """
        spans: list[tuple[str, bool]] = []
        plain = ""
        end = 0
        for match in self._quoted_or_control.finditer(text):
            plain += text[end : match.start()]
            end = match.end()
            if match[1]:
                plain += match[1]
            else:
                spans += [(plain, False), (match[2], True)]
                plain = ""
        spans.append((plain + text[end:], False))
        return [(span, is_control) for span, is_control in spans if span]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder; UserError if it cannot be read."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # the tokenizers library raises plain Exceptions for files that it cannot read
        raise UserError(f"{folder}: no readable tokenizer: {first_line(error)}") from None
    return tokenizer
