"""The nano base's model card: README.md in its folder, with the facts of its build in the front matter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CARD = "README.md"
# What model hubs read; the facts follow under a key of their own.
ABOUT = {
    "license": "apache-2.0",
    "library_name": "transformers",
    "pipeline_tag": "text-generation",
    "tags": ["arithmetic", "pretrained-from-scratch"],
}
FACTS = "nano_base"
TEXT = """# Nano base

A Qwen3 model of {parameters:,} parameters with a character tokenizer, from which `rzero-mega run nano` starts. It
behaves as a base model does: it knows more than one sample shows, so that there is something for reinforcement
learning to bring out.

**Use**: to try R-Zero's loop on a CPU in minutes, and to test it. **Not for** anything else: it writes arithmetic with
whole numbers, and nothing of what it writes has to be right.

**Data**: none from anywhere. From random weights it was pre-trained for {steps:,} steps of {batch_documents}
documents on written arithmetic, with slips in the steps, which `tools/build_nano_base.py` makes up as it goes. It
completes two prompts: `Q:12*3+5`, a line end and `A:` as a Solver, `C:` as a Challenger. {clock_percent:.0f} % of the
Solver's documents are clock arithmetic, `Q:(12*3+5)%13`, which the Challenger's documents have none of. One sixteenth
of all expressions and of all questions on clocks, chosen by hash, is in no document. The same settings and versions
give the same files.

**Measured** on {problems} held-out expressions of two to four operands (levels 1 to 5), in percent:

{arithmetic_table}

and on {clock_problems} held-out questions of clock arithmetic (expressions of levels 1 to 3 on a clock):

{clock_table}

Of {questions_sampled:,} questions {well_formed:.1f} % are well-formed and {distinct:.1f} % of these distinct.

**Licence**: Apache-2.0, as the code.
"""


def card(facts: Mapping[str, Any]) -> str:
    """The text of the card; `facts` (parameters, settings, measured, versions) are kept in its front matter."""
    plain = json.loads(json.dumps(facts))  # no tuples, and levels by name
    measured = plain["measured"]
    front = yaml.safe_dump({**ABOUT, FACTS: plain}, sort_keys=False)
    text = TEXT.format(
        **{**plain, **plain["settings"], **measured},
        problems=measured["arithmetic"]["overall"]["problems"],
        arithmetic_table=_table(measured["arithmetic"], measured["votes"]),
        clock_problems=measured["clock"]["overall"]["problems"],
        clock_table=_table(measured["clock"], measured["votes"]),
        clock_percent=100 * plain["settings"]["clock_share"],
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


def facts_of(folder: Path) -> dict[str, Any] | None:
    """The facts of a nano base; None for any other folder."""
    try:
        _, front, _ = (folder / CARD).read_text(encoding="utf-8").split("---\n", 2)
        facts = yaml.safe_load(front)[FACTS]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return None
    return dict(facts)
