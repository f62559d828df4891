"""Prompts: one YAML file per role, so that other domains than mathematics need no code.

A file has the keys `system` and `user` for chat models, and `raw` for models that complete a text of their own form.
`examples`, a list of `user` and `assistant`, are turns that go before the user's, for models that imitate better than
they follow.
`{question}` stands for the question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path

import yaml

from rzero_mega.errors import UserError, first_line

PLACEHOLDERS = ("question",)

# A brace after a word, a closing bracket or ^ is LaTeX (`\boxed{x}`, `\frac{a}{b}`, `x^{n}`), not a placeholder.
_PLACEHOLDER = re.compile(r"(?<![\w\\}\]^])\{([a-z_]+)\}")


@dataclass(frozen=True)
class Example:
    """A turn of the user's and the answer to it, both as written in the file."""

    user: str
    assistant: str


@dataclass(frozen=True)
class PromptTemplate:
    """One role's prompt. `source` names it in errors; `plain_suffix` ends the text for models without chat template."""

    system: str | None = None
    user: str | None = None
    raw: str | None = None
    examples: tuple[Example, ...] = ()
    plain_suffix: str = "\nassistant:"
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

    def _check_values(self, text: str, values: dict[str, str]) -> None:
        for name in PLACEHOLDERS:
            if ("{" + name + "}" in text) != (name in values):
                trouble = "is missing, and this role needs it" if name in values else "has no meaning in this role"
                raise UserError(f"{self.source}: the placeholder {{{name}}} {trouble}")


def load_prompt(name_or_path: str) -> PromptTemplate:
    """Read a shipped prompt (its name) or a YAML file (its path); UserError as of `parse_prompt`."""
    return parse_prompt(prompt_text(name_or_path), name_or_path)


def parse_prompt(text: str, name_or_path: str) -> PromptTemplate:
    """The prompt that a file's text describes.

    Raises UserError naming the file for text that is no YAML, an unknown key or placeholder, or no text at all.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{name_or_path}: not readable as YAML: {first_line(error)}") from None
    if not isinstance(data, dict):
        raise UserError(f"{name_or_path}: a prompt file is a mapping with the keys system and user, or raw")
    known = [spec.name for spec in fields(PromptTemplate) if spec.name != "source"]
    for key, value in data.items():
        if key not in known:
            raise UserError(f"{name_or_path}: unknown key {key!r}; there are {', '.join(known)}")
        if key == "examples":
            continue
        if not isinstance(value, str):
            raise UserError(f"{name_or_path}: the key {key} has to be a text")
        _check_placeholders(name_or_path, value)
    if "user" not in data and "raw" not in data:
        raise UserError(f"{name_or_path}: has neither user nor raw")
    examples = _read_examples(name_or_path, data.pop("examples", []))
    return PromptTemplate(**data, examples=examples, source=name_or_path)


def _read_examples(name_or_path: str, rows: object) -> tuple[Example, ...]:
    turns = {"user", "assistant"}
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) == turns for row in rows):
        raise UserError(f"{name_or_path}: examples has to be a list of mappings with the keys user and assistant")
    return tuple(Example(str(row["user"]), str(row["assistant"])) for row in rows)


def prompt_names() -> list[str]:
    """Names of the prompts that are shipped with the package."""
    folder = resources.files("rzero_mega.config") / "prompts"
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def prompt_text(name_or_path: str) -> str:
    """The text of a shipped prompt (its name) or of a YAML file (its path); UserError if it can't be read."""
    path = Path(name_or_path)
    if name_or_path in prompt_names():
        return (resources.files("rzero_mega.config") / "prompts" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        raise UserError(f"{name_or_path}: neither a shipped prompt ({', '.join(prompt_names())}) nor a YAML file")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name_or_path}: cannot be read: {error}") from None


def _check_placeholders(source: str, text: str) -> None:
    for name in _PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            raise UserError(f"{source}: unknown placeholder {{{name}}}; there is only {{{PLACEHOLDERS[0]}}}")


def _fill(text: str, values: dict[str, str]) -> str:
    """Insert values by plain replacement: they are model output, and no braces of theirs mean anything."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
