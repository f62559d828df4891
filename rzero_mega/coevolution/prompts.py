"""Prompts: what a role is given, one YAML file per role.

A file has the keys `system` and `user` for chat models, and `raw` for models that complete a text of their own form.
`examples`, a list of `user` and `assistant`, are turns that go before the user's, for models that imitate better than
they follow.
`{question}` stands for the question, `{answer}` in the Verifier's for the answer that it verifies, `{first}` and
`{second}` in a Critic's for those that it compares.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from rzero_mega.config.typed import merged
from rzero_mega.errors import UserError
from rzero_mega.yaml_text import parse_yaml

PLACEHOLDERS = ("question", "answer", "first", "second")

# A brace after a word, a closing bracket or ^ is LaTeX (`\boxed{x}`, `\frac{a}{b}`, `x^{n}`), not a placeholder.
_PLACEHOLDER = re.compile(r"(?<![\w\\}\]^])\{([a-z_]+)\}")


@dataclass(frozen=True)
class Example:
    """A turn of the user's and the answer to it, both as written in the file."""

    user: str
    assistant: str


@dataclass(frozen=True)
class PromptFile:
    """The keys of a prompt file; `plain_suffix` ends the text for models without chat template."""

    system: str | None = None
    user: str | None = None
    raw: str | None = None
    examples: tuple[Example, ...] = ()
    plain_suffix: str = "\nassistant:"


@dataclass(frozen=True)
class PromptTemplate(PromptFile):
    """One role's prompt. `source` names it in errors."""

    source: str = "prompt"

    def messages(self, **values: str) -> list[dict[str, str]]:
        """Chat messages with the placeholders filled.

        Raises UserError if the file has no user turn, or if its placeholders are not those that have values.
        """
        if self.user is None:
            raise UserError(f"{self.source}: has no user turn for a chat model; add the key user")
        self._check_values((self.system or "") + self.user, values)
        turns = [] if self.system is None else [{"role": "system", "content": _fill(self.system, values)}]
        for example in self.examples:
            turns += [{"role": "user", "content": example.user}, {"role": "assistant", "content": example.assistant}]
        return [*turns, {"role": "user", "content": _fill(self.user, values)}]

    def plain(self, **values: str) -> str:
        r"""One text with the placeholders filled: `raw` if there is one, else ``system: …\nuser: …`` and the suffix."""
        if self.raw is not None:
            self._check_values(self.raw, values)
            return _fill(self.raw, values)
        turns = self.messages(**values)
        return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns) + self.plain_suffix

    def check_role(self, placeholders: Collection[str]) -> None:
        """UserError unless every text of the file has these placeholders, and no others."""
        values = dict.fromkeys(placeholders, "")
        for text in (self.raw, None if self.user is None else (self.system or "") + self.user):
            if text is not None:
                self._check_values(text, values)

    def _check_values(self, text: str, values: dict[str, str]) -> None:
        for name in PLACEHOLDERS:
            # Of others \boxed{answer} is no placeholder.
            there = "{" + name + "}" in text if name in values else name in _PLACEHOLDER.findall(text)
            if there != (name in values):
                trouble = "is missing, and this role needs it" if name in values else "has no meaning in this role"
                raise UserError(f"{self.source}: the placeholder {{{name}}} {trouble}")


def parse_prompt(text: str, source: str) -> PromptTemplate:
    """The prompt that a file's text describes.

    Raises UserError naming the file for text that is no YAML, an unknown key or placeholder, or no text at all.
    """
    given = parse_yaml(text, source)
    try:
        found = merged(PromptFile(), given)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    for part in (found.system, found.user, found.raw, found.plain_suffix):
        _check_placeholders(source, part or "")
    if found.user is None and found.raw is None:
        raise UserError(f"{source}: has neither user nor raw")
    return PromptTemplate(**vars(found), source=source)


def _check_placeholders(source: str, text: str) -> None:
    named = " and ".join("{" + name + "}" for name in PLACEHOLDERS)
    for name in _PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            raise UserError(f"{source}: unknown placeholder {{{name}}}; there are {named}")


def _fill(text: str, values: dict[str, str]) -> str:
    """Insert values in one pass: they are model output, and no braces of theirs mean anything."""
    if not values:
        return text
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda found: values[found[1]], text)
