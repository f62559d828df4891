"""The rewriting base: how it is pre-trained, and what its card says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools.bases.base import Base, World
from tools.bases.rewriting.documents import documents
from tools.bases.rewriting.measuring import measure, print_measurement, table
from tools.bases.rewriting.settings import RewritingSettings

_MEASURED = """**Measured** on the benchmark's {tasks} tasks of three to eight words (levels 1 to 4), in percent: hidden
quality of a sample, of the greedy answer, of the best and of the shortest of {samples} samples; the score, which is
brevity, of a sample, and its spread among the samples.

{table}

Of {questions_sampled:,} tasks that it wrote as a Challenger {well_formed:.1f} % are well-formed and {distinct:.1f} % of
these distinct."""


def _card_values(facts: Mapping[str, Any]) -> dict[str, Any]:
    settings, measured = facts["settings"], facts["measured"]
    return {
        **{f"{name}_percent": 100 * often for name, often in settings["faults"].items()},
        "tasks": measured["answers"]["overall"]["tasks"],
        "samples": measured["answers"]["samples"],
        "table": table({**measured["answers"]["levels"], "all": measured["answers"]["overall"]}, "level"),
        "well_formed": 100 * measured["questions_well_formed"],
        "distinct": 100 * measured["questions_distinct"],
    }


WORDS = World("rewriting", documents, measure, print_measurement, _MEASURED, _card_values)

_REWRITING = """# Rewriting base

A Qwen3 model of {parameters:,} parameters with a character tokenizer, from which `rzero-mega run rewriting` starts. It
writes rows of words again as somebody does who hurries, so that its answers are better or worse, and most leave room
both ways.

**Use**: to try R-Zero's loop on a CPU in minutes where answers have scores and none is simply right, and to test it.
**Not for** anything else: it writes rows of random words.

**Data**: none from anywhere. From random weights it was pre-trained for {steps:,} steps of {batch_documents}
documents, which `tools/build_rewriting_base.py` makes up as it goes. It completes two prompts: `R:cat dog ant dog`, a
line end and `A:` to a row as a Solver, `T:` to `<question>cat dog ant dog</question>` as a Challenger. The best row has
every word once, in the order of the alphabet. In the documents {unsorted_percent:.0f} % of the rows keep the task's
order and {stops_percent:.0f} % end early; {repeats_percent:.0f} % of the words that were there before are written
again, {forgets_percent:.0f} % of the words are forgotten, {misspells_percent:.0f} % have a wrong letter, and
{swaps_percent:.0f} % of neighbours are exchanged. Each is rarer than not, so that the best row is the likeliest. No
document has the words of a task of the benchmark. The same settings and versions give the same files."""

REWRITING = Base("rewriting", WORDS, RewritingSettings(steps=1500), _REWRITING)
