"""Which prompt a role is asked by: the one that the configuration names, or the domain's."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rzero_mega.coevolution.prompts import PromptTemplate, parse_prompt
from rzero_mega.config.schema import Config
from rzero_mega.domains.domain import Domain
from rzero_mega.domains.registry import SHIPPED, domain_of
from rzero_mega.errors import UserError
from rzero_mega.text_file import is_missing, read_text

PromptRole = Literal["challenger", "solver", "verifier", "critic", "paraphrase", "program", "oracle"]
PLACEHOLDERS: dict[PromptRole, tuple[str, ...]] = {
    "challenger": (),
    "verifier": ("question", "answer"),
    "critic": ("question", "first", "second"),
}
"""What stands in a role's prompt; in those of all others it is the question."""


def prompt_key(role: PromptRole) -> str:
    """The key of the configuration that may name it."""
    return "labels.audit.prompt" if role == "oracle" else f"prompts.{role}"


def prompt_of(config: Config, role: PromptRole) -> PromptTemplate:
    """The role's prompt; UserError as of `prompt_text_of` and `parse_prompt`."""
    return parse_prompt(prompt_text_of(config, role), prompt_name(config, role))


def prompt_text_of(config: Config, role: PromptRole) -> str:
    """The text of its file. UserError if it can't be read, or if nothing is named and the domain has none."""
    named = _named(config, role)
    if named is not None:
        return prompt_text(named)
    return read_text(_of_domain(domain_of(config), role))


def prompt_name(config: Config, role: PromptRole) -> str:
    """What errors and model cards call it."""
    return _named(config, role) or _of_domain(domain_of(config), role).stem


def has_prompt(config: Config, role: PromptRole) -> bool:
    """Whether one is named, or the domain has one."""
    return _named(config, role) is not None or role in domain_of(config).prompts


def load_prompt(name_or_path: str) -> PromptTemplate:
    """Read a shipped prompt (its name) or a YAML file (its path); UserError as of `parse_prompt`."""
    return parse_prompt(prompt_text(name_or_path), name_or_path)


def prompt_text(name_or_path: str) -> str:
    """The text of a shipped prompt (its name) or of a YAML file (its path); UserError if it can't be read."""
    shipped, path = shipped_prompts(), Path(name_or_path)
    if name_or_path in shipped:
        return read_text(shipped[name_or_path])
    if path.suffix not in (".yaml", ".yml") or is_missing(path):
        raise UserError(f"{name_or_path}: neither a shipped prompt ({', '.join(shipped)}) nor a YAML file")
    return read_text(path)


def shipped_prompts() -> dict[str, Path]:
    """All files of this package's domains by their names, those included that no domain has as its own."""
    folders = {file.parent for domain in SHIPPED.values() for file in domain.prompts.values()}
    return {file.stem: file for file in sorted(file for folder in folders for file in folder.glob("*.yaml"))}


def _named(config: Config, role: PromptRole) -> str | None:
    if role == "oracle":
        return config.labels.audit.prompt
    name: str | None = getattr(config.prompts, role)
    return name


def _of_domain(domain: Domain, role: PromptRole) -> Path:
    if role not in domain.prompts:
        raise UserError(f"{prompt_key(role)}: domain {domain.name} has none of its own; name a YAML file")
    return domain.prompts[role]
