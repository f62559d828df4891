"""A base's model card: README.md in its folder, with the facts of its build in the front matter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tools.bases.base import Base

CARD = "README.md"
# What model hubs read; the facts follow under a key of their own.
ABOUT = {
    "license": "apache-2.0",
    "library_name": "transformers",
    "pipeline_tag": "text-generation",
}
LICENCE = "**Licence**: Apache-2.0, as the code."


def card(base: Base[Any], facts: Mapping[str, Any]) -> str:
    """The text of the card; `facts` (of parameters to versions, see `write_checkpoint`) are in its front matter."""
    plain = json.loads(json.dumps(facts))  # no tuples, and levels by name
    tags = [base.world.domain, "pretrained-from-scratch"]
    front = yaml.safe_dump({**ABOUT, "tags": tags, base.folder_name: plain}, sort_keys=False)
    values = {**plain, **plain["settings"], **plain["measured"], **base.world.card_values(plain)}
    text = f"{base.about}\n\n{base.world.measured}\n\n{LICENCE}\n".format(**values)
    return f"---\n{front}---\n\n{text}"


def facts_of(folder: Path, base: Base[Any]) -> dict[str, Any] | None:
    """The facts of a base that was built; None for any other folder."""
    try:
        _, front, _ = (folder / CARD).read_text(encoding="utf-8").split("---\n", 2)
        facts = yaml.safe_load(front)[base.folder_name]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None
    return dict(facts)
