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
    "tags": ["arithmetic", "pretrained-from-scratch"],
}
TEXT = """**Measured** on {problems} held-out expressions of two to four operands (levels 1 to 5), in percent:

{arithmetic_table}

and on {clock_problems} held-out questions of clock arithmetic (expressions of levels 1 to 3 on a clock):

{clock_table}

Greedy decoding is right on {more_greedy:.1f} % of {more_problems:,} other held-out expressions. Of
{questions_sampled:,} questions {well_formed:.1f} % are well-formed and {distinct:.1f} % of these distinct.

**Licence**: Apache-2.0, as the code.
"""


def card(base: Base, facts: Mapping[str, Any]) -> str:
    """The text of the card; `facts` (of parameters to versions, see `write_checkpoint`) are in its front matter."""
    plain = json.loads(json.dumps(facts))  # no tuples, and levels by name
    measured = plain["measured"]
    settings = plain["settings"]
    folklore = settings["folklore"] or {"share": 0, "weight": 0}
    front = yaml.safe_dump({**ABOUT, base.folder_name: plain}, sort_keys=False)
    text = f"{base.about}\n\n{TEXT}".format(
        **{**plain, **settings, **measured},
        problems=measured["arithmetic"]["overall"]["problems"],
        arithmetic_table=_table(measured["arithmetic"], measured["votes"]),
        clock_problems=measured["clock"]["overall"]["problems"],
        clock_table=_table(measured["clock"], measured["votes"]),
        clock_percent=100 * settings["clock_share"],
        folklore_percent=100 * folklore["share"],
        weight_percent=100 * folklore["weight"],
        more_problems=measured["more"]["problems"],
        more_greedy=100 * measured["more"]["greedy"],
        well_formed=100 * measured["questions_well_formed"],
        distinct=100 * measured["questions_distinct"],
    )
    return f"---\n{front}---\n\n{text}"


def _table(family: Mapping[str, Any], votes: int) -> str:
    levels = {**family["levels"], "all": family["overall"]}
    rows = [
        f"| {name} | {100 * row['mean_sampled']:.1f} | {100 * row['greedy']:.1f} | {100 * row['vote']:.1f} |"
        for name, row in levels.items()
    ]
    head = f"| level | mean of {votes} samples | greedy | vote of {votes} |"
    return "\n".join([head, "|---|---|---|---|", *rows])


def facts_of(folder: Path, base: Base) -> dict[str, Any] | None:
    """The facts of a base that was built; None for any other folder."""
    try:
        _, front, _ = (folder / CARD).read_text(encoding="utf-8").split("---\n", 2)
        facts = yaml.safe_load(front)[base.folder_name]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None
    return dict(facts)
